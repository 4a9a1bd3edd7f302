"""ADE20K as published for the MIT scene parsing challenge 2016, with unchanged labels.

Labels range from 0 to 150. The value 0 marks everything outside the 150 classes; the toolbox's data
set class ignores it (``reduce_zero_label``).
"""

from __future__ import annotations

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile

# ADE20K's site was reported down in September 2025 (CSAILVision/ADE20K#51). The mirror is a copy by
# a user of Hugging Face.
ARCHIVE = PublishedFile(
    'http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip',
    digest='sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7',
    mirrors=('https://huggingface.co/datasets/zbwxp/ade/resolve/main/ADEChallengeData2016.zip',),
)


def convert(workspace: Workspace) -> None:
    """Unpack the archive without its top-level folder."""
    workspace.unpack(ARCHIVE, '(?:ADEChallengeData2016/)?(.*)')
    # Verification iterates over images, so it would miss labels without an image.
    for label in (workspace.out / 'annotations').rglob('*.png'):
        path = label.relative_to(workspace.out / 'annotations')
        image = workspace.out / 'images' / path.with_suffix('.jpg')
        if not image.is_file():
            raise UserError(f'{image} is missing, but has a label; {START_OVER}')


CONVERTER = Converter('ADE20K', {'encnet_r50_ade20k': (20_210, 2_000)}, (ARCHIVE,), convert)
