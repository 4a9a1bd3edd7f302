"""Studies: trainings of several config variants and seeds, and their comparison."""
