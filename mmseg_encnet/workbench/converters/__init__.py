"""Convert the files of a data set's publisher into the folders that the configs expect.

Each data set has a module that declares a :class:`~.command.Converter`: the publisher's files, the
shipped configs that use the result, and a function that produces it in a
:class:`~.command.Workspace`. All of them share ``download``, ``archives`` for unpacking, ``labels``
for writing label images, ``verification``, which reads the result through the configs, and
``command``, the command line. A converter can be killed at any time and started again: it skips
finished work, and a file with its final name is always complete.
"""
