"""Benchmarks: registries of cases and contenders, measured side by side in one process."""
