"""Benchmarks of the operators and of whole networks."""
