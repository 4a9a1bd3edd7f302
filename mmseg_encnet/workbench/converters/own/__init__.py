"""Convert images and labels of a user, in any common format, into the layout of this project.

``formats`` has a module for each format of labels. They share ``pairing``, which matches images and
label images by name, ``survey``, which finds out what label images contain, ``classes`` for tables
of classes, ``splits`` for train, val and test, and ``problems``, which collects what is wrong with
files. ``conversion`` puts them together, ``command`` is the command line.
"""
