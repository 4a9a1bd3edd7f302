"""Configs: the shipped ones, reading and checking them, and what options change."""
