"""Studies: training runs of several config variants and seeds, and their comparison."""
