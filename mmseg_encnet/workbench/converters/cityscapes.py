"""Cityscapes: the fine annotations with the 19 evaluated classes.

The publisher's ``*_labelIds.png`` number all 34 labels. Training uses train ids, which number the
evaluated classes; other labels are ignored.
"""

from __future__ import annotations

from functools import partial

from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.labels import LabelTask, draw_mapped

_PAGE = 'https://www.cityscapes-dataset.com/downloads/'
IMAGES = PublishedFile(_PAGE, name='leftImg8bit_trainvaltest.zip', account=True)
ANNOTATIONS = PublishedFile(_PAGE, name='gtFine_trainvaltest.zip', account=True)

# Label ids of the classes, in the order of their train ids.
EVALUATED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_CLASS_OF = dict.fromkeys(range(34), 255) | {id: i for i, id in enumerate(EVALUATED_IDS)}

_SOURCE, _TARGET = '_gtFine_labelIds.png', '_gtFine_labelTrainIds.png'


def convert(workspace: Workspace) -> None:
    """Write ``*_labelTrainIds.png`` of train and val; test annotations are not public."""
    workspace.unpack(IMAGES, '(leftImg8bit/.*)')
    workspace.unpack(ANNOTATIONS, f'(gtFine/(?:train|val)/.*{_SOURCE})')
    root, images = workspace.out / 'gtFine', workspace.out / 'leftImg8bit'
    workspace.write_labels(
        partial(draw_mapped, class_of=_CLASS_OF),
        [
            LabelTask(
                images / str(source.relative_to(root)).replace(_SOURCE, '_leftImg8bit.png'),
                source.with_name(source.name.replace(_SOURCE, _TARGET)),
                source,
            )
            for source in sorted(root.rglob(f'*{_SOURCE}'))
        ],
    )


CONVERTER = Converter(
    'Cityscapes', {'encnet_r50_cityscapes': (2_975, 500)}, (IMAGES, ANNOTATIONS), convert
)
