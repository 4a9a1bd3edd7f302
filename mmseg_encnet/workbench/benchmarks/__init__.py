"""Benchmarks of the encoding operator and of whole networks."""
