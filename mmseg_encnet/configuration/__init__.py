"""Configs: find the shipped ones, load and check them, and apply command-line options."""
