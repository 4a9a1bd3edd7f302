"""The memory that a config needs on a GPU, computed without allocating it."""

HEADS = {'own': 'EncodingHead', 'mmseg': 'mmseg EncHead'}
