"""A page on which a person drops a photograph and sees what a model makes of it, and why."""
