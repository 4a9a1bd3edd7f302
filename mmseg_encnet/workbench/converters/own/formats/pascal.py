"""Folders as in Pascal VOC: JPEGImages, SegmentationClass, ImageSets/Segmentation."""

from __future__ import annotations

from dataclasses import replace

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.own.files import place_of
from mmseg_encnet.workbench.converters.own.formats import label_images
from mmseg_encnet.workbench.converters.own.formats.colours import VOID
from mmseg_encnet.workbench.converters.own.found import FoundData, Source

_LABELS = ('segmentationclass', 'segmentationclassaug', 'segmentationclasspng')


def is_pascal(source: Source) -> bool:
    """Return whether a folder has Pascal's folders."""
    folders = {part.lower() for path in source.files for part in path.parts[:-1]}
    return 'jpegimages' in folders and not folders.isdisjoint(_LABELS)


def read(source: Source) -> FoundData:
    """Read labels with a palette or in RGB; images without a label are left out.

    Raises:
        UserError: See :func:`label_images.read`.
    """
    if not is_pascal(source):
        raise UserError(
            f'{source.root} has no folders JPEGImages and SegmentationClass; use another --format.'
        )
    # Other folders hold labels of other kinds.
    wanted = [
        path
        for path in source.files
        if any(part.lower() in ('jpegimages', *_LABELS) for part in path.parts[:-1])
        and place_of(path, source.root).role != 'other'
    ]
    # The format describes folders, not pixels.
    reading = replace(source.reading, format=None)
    found = label_images.read(replace(source, files=wanted, reading=reading), VOID)
    return replace(found, format=f'pascal ({found.format})', unlabelled_is_normal=True)
