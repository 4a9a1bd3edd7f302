"""The demo of ``make demo``: FCN and EncNet on the embedded data set."""
