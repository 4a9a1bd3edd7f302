"""Inspection of a data set: samples after the pipeline, class statistics, figures of both."""
