"""Experiments of many trainings that differ in a few config entries, compared fairly."""
