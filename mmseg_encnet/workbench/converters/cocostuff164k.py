"""COCO-Stuff 164k: COCO 2017 with 80 classes of things and 91 of stuff.

The publisher's label images contain COCO's category ids minus one: things from 0, stuff from 91 to
181, and 255 for unlabelled pixels. Eleven things were never annotated, which leaves 171 classes.
"""

from __future__ import annotations

from functools import partial

from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.labels import LabelTask, draw_mapped

# COCO publishes no checksums. These are the ones in PyTorch-Encoding and GluonCV. The mirrors are
# COCO's own bucket under the name of Amazon S3, which has a valid certificate.
BUCKET = 'https://s3.amazonaws.com/images.cocodataset.org/'
TRAIN_IMAGES = PublishedFile(
    'http://images.cocodataset.org/zips/train2017.zip',
    digest='sha1:10ad623668ab00c62c096f0ed636d6aff41faca5',
    mirrors=(f'{BUCKET}zips/train2017.zip',),
)
VAL_IMAGES = PublishedFile(
    'http://images.cocodataset.org/zips/val2017.zip',
    digest='sha1:4950dc9d00dbe1c933ee0170f5797584351d2a41',
    mirrors=(f'{BUCKET}zips/val2017.zip',),
)
LABELS = PublishedFile(
    'http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/'
    'stuffthingmaps_trainval2017.zip'
)

# street sign, hat, shoe, eye glasses, plate, mirror, window, desk, door, blender, hair brush
_NEVER_ANNOTATED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
_IDS = [id for id in range(182) if id not in _NEVER_ANNOTATED]
_CLASS_OF = {id: index for index, id in enumerate(_IDS)} | {255: 255}


def convert(workspace: Workspace) -> None:
    """Write ``*_labelTrainIds.png`` next to the publisher's label images."""
    for images in (TRAIN_IMAGES, VAL_IMAGES):
        workspace.unpack(images, folder='images')
    workspace.unpack(LABELS, folder='annotations')
    annotations = workspace.out / 'annotations'
    workspace.write_labels(
        partial(draw_mapped, class_of=_CLASS_OF),
        [
            LabelTask(
                workspace.out / 'images' / split / f'{source.stem}.jpg',
                source.with_name(f'{source.stem}_labelTrainIds.png'),
                source,
            )
            for split in ('train2017', 'val2017')
            # Only the publisher's names end in a digit.
            for source in sorted((annotations / split).glob('*[0-9].png'))
        ],
    )


CONVERTER = Converter(
    'COCO-Stuff 164k',
    {'encnet_r50_cocostuff164k': (118_287, 5_000)},
    (TRAIN_IMAGES, VAL_IMAGES, LABELS),
    convert,
)
