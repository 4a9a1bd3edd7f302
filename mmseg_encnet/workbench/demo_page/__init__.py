"""A web page that segments uploaded photographs and shows the context used by the model."""
