"""Convert images and labels of a user, in any common format, into the layout of this project.

``formats`` has a module for each format of labels. They share ``pairing``, which matches images and
label images by name, ``survey``, which finds out what label images contain, ``classes`` for tables
of classes, ``splits`` for train, val and test, and ``problems``, which collects what is wrong with
files. ``conversion`` puts them together, ``command`` is the command line.
"""

from mmseg_encnet.workbench.converters.own.conversion import Converted, convert_own
from mmseg_encnet.workbench.converters.own.options import Reading, Splitting
from mmseg_encnet.workbench.converters.own.problems import UnusableData

__all__ = ['Converted', 'Reading', 'Splitting', 'UnusableData', 'convert_own']
