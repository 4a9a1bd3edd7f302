"""Pascal Context from imitations of its files, through the tool, compared pixel by pixel."""

from __future__ import annotations

import copy
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from mmseg.datasets import PascalContextDataset, PascalContextDataset59
from publisher_files import jpeg, write_tar
from pycocotools import mask as coco_mask

from mmseg_encnet.workbench.converters.labels import read_label
from mmseg_encnet.workbench.converters.pascal_context import ANNOTATIONS, CATEGORIES, IMAGES

TOOL = 'dataset_converters/pascal_context'
# Ids from the list of PyTorch-Encoding, by the class names of Pascal Context.
IDS = {
    'aeroplane': 2,
    'bag': 9,
    'bird': 25,
    'mountain': 259,
    'mouse': 260,
    'person': 284,
    'sky': 360,
    'table': 397,
    'track': 415,
    'train': 416,
    'tvmonitor': 427,
    'wood': 458,
}
CLASSES = PascalContextDataset.METAINFO['classes']


def run_lengths(mask: np.ndarray, packed: bool = True) -> dict:
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = code['counts'].decode()
    if not packed:
        column_wise = np.concatenate([[0], mask.T.ravel(), [0]]).astype(int)
        edges = np.flatnonzero(np.diff(column_wise))
        counts = [int(run) for run in np.diff([0, *edges, mask.size])]
    return dict(size=list(mask.shape), counts=counts)


def rectangle(shape: tuple[int, int], top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


class Imitation:
    """The two files of the publisher, and the expected labels."""

    def __init__(self) -> None:
        self.content = dict(
            info={},
            images=[],
            annos_segmentation=[],
            annos_occlusion=[],
            annos_boundary=[],
            parts=[],
            categories=[
                dict(category_id=index, name=f'category {index}', onlysemantic=0)
                for index in range(1, 460)
            ],
        )
        self.images: dict[str, bytes] = {}
        self.labels: dict[str, np.ndarray] = {}
        self.splits: dict[str, list[str]] = {'train': [], 'val': [], 'test': []}

    def add_image(self, name: str, phase: str, shape: tuple[int, int]) -> None:
        self.content['images'].append(
            dict(
                file_name=f'{name}.jpg',
                phase=phase,
                height=shape[0],
                width=shape[1],
                image_id=int(name.replace('_', '')),
                date_captured='31-Dec-2010',
                license=1,
            )
        )
        self.images[name] = jpeg(*shape)
        self.labels[name] = np.zeros(shape, np.uint8)
        self.splits[phase].append(name)

    def add_segment(
        self, name: str, category: int, mask: np.ndarray, iscrowd: int = 0, packed: bool = True
    ) -> None:
        segments = self.content['annos_segmentation']
        segments.append(
            dict(
                # Neither ascending nor in the order of images: only the order in the file matters.
                id=1000 - len(segments),
                image_id=int(name.replace('_', '')),
                category_id=category,
                iscrowd=iscrowd,
                area=int(mask.sum()),
                bbox=[0, 0, 1, 1],
                parts=[],
                segmentation=run_lengths(mask, packed),
            )
        )
        ids = sorted(CATEGORIES)
        self.labels[name][mask] = ids.index(category) + 1 if category in ids else 0

    def write(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        write_tar(
            folder / IMAGES.name,
            {
                'VOCdevkit/VOC2010/Annotations/2008_000002.xml': b'<annotation/>',
                'VOCdevkit/VOC2010/ImageSets/Main/train.txt': b'2008_000002\n',
                **{
                    f'VOCdevkit/VOC2010/JPEGImages/{name}.jpg': data
                    for name, data in self.images.items()
                },
            },
        )
        (folder / ANNOTATIONS.name).write_text(json.dumps(self.content))


@pytest.fixture
def imitation() -> Imitation:
    made = Imitation()
    wide, high = (24, 36), (36, 24)
    made.add_image('2008_000015', 'train', wide)
    made.add_image('2008_000002', 'train', high)
    made.add_image('2009_000001', 'val', wide)
    made.add_image('2010_000003', 'train', wide)
    # Its image is not in the archive, because the publisher keeps the test images.
    made.add_image('2010_000009', 'test', wide)
    del made.images['2010_000009']
    # The later segment covers the earlier one, regardless of id, category and area.
    made.add_segment('2008_000015', IDS['sky'], rectangle(wide, 0, 0, 24, 36))
    made.add_segment('2008_000015', IDS['person'], rectangle(wide, 4, 4, 20, 20))
    made.add_segment('2009_000001', IDS['aeroplane'], rectangle(wide, 0, 0, 8, 8))
    made.add_segment('2008_000015', IDS['aeroplane'], rectangle(wide, 10, 10, 24, 36))
    # Crowds are painted like all other segments.
    made.add_segment('2008_000002', IDS['bird'], rectangle(high, 0, 0, 12, 24), iscrowd=1)
    made.add_segment('2008_000002', IDS['mouse'], rectangle(high, 6, 0, 20, 12))
    made.add_segment('2008_000002', IDS['mountain'], rectangle(high, 15, 5, 36, 24), iscrowd=1)
    # Categories outside the 59 are background, also over earlier segments.
    made.add_segment('2009_000001', 1, rectangle(wide, 2, 2, 5, 5))
    made.add_segment('2009_000001', 459, rectangle(wide, 12, 0, 16, 36))
    made.add_segment('2009_000001', IDS['wood'], rectangle(wide, 14, 3, 24, 9), packed=False)
    made.add_segment('2010_000009', IDS['person'], rectangle(wide, 0, 0, 9, 9))
    # 2010_000003 has no segments.
    return made


def test_class_order():
    assert len(set(CATEGORIES)) == 59 and list(CATEGORIES) == sorted(CATEGORIES)
    for name, category in IDS.items():
        assert CLASSES[CATEGORIES.index(category) + 1] == name
    assert CLASSES[1:] == PascalContextDataset59.METAINFO['classes']


@pytest.mark.parametrize('jobs', [1, 2])
def test_labels(imitation, run_tool, tmp_path, jobs):
    imitation.write(tmp_path / 'given')
    result = run_tool(TOOL, 'out', '--from', 'given', '--jobs', jobs)
    assert result.status == 0, result.err
    out = tmp_path / 'out'
    for split in ('train', 'val'):
        names = sorted(imitation.splits[split])
        assert (out / f'ImageSets/SegmentationContext/{split}.txt').read_text().split() == names
        for name in names:
            label = read_label(out / f'SegmentationClassContext/{name}.png')
            assert label.dtype == np.uint8
            assert np.array_equal(label, imitation.labels[name]), name
            assert (out / f'JPEGImages/{name}.jpg').read_bytes() == imitation.images[name]
    assert len(list((out / 'SegmentationClassContext').iterdir())) == 4
    assert not (out / 'Annotations').exists()


def test_every_category(run_tool, tmp_path):
    imitation = Imitation()
    shape = (20, 23)
    imitation.add_image('2008_000002', 'train', shape)
    imitation.add_image('2008_000003', 'val', shape)
    order = random.Random(0).sample(range(460), 460)
    for category in order:
        row, column = divmod(category, 23)
        imitation.add_segment(
            '2008_000002', category, rectangle(shape, row, column, row + 1, column + 1)
        )
    imitation.write(tmp_path / 'given')
    assert run_tool(TOOL, 'out', '--from', 'given', '--jobs', 1).status == 0
    label = read_label(tmp_path / 'out/SegmentationClassContext/2008_000002.png').ravel()
    assert np.array_equal(np.flatnonzero(label), CATEGORIES)
    assert np.array_equal(label[list(CATEGORIES)], np.arange(1, 60))


def test_report(imitation, run_tool, tmp_path):
    imitation.write(tmp_path / 'given')
    out = run_tool(TOOL, 'out', '--from', 'given', '--jobs', 1).out
    lines = [line.split() for line in out.splitlines()]
    assert ['encnet_r50_pcontext', 'train', '3', '3', '4,996', 'differs'] in lines
    assert ['encnet_r50_pcontext60', 'val', '1', '1', '5,104', 'differs'] in lines
    labels = [imitation.labels[name] for name in imitation.splits['train']]
    person = sum((label == CLASSES.index('person')).sum() for label in labels)
    share = f'{person / sum(label.size for label in labels):.3%}'
    assert ['37', 'person', share, '1', '0.000%', '0'] in lines
    for name in ('encnet_r50_pcontext', 'encnet_r50_pcontext60'):
        assert f'python tools/train.py configs/{name}.py --cfg-options data_root=out' in out


def wrong(imitation: Imitation, what: str) -> None:
    content, segment = imitation.content, imitation.content['annos_segmentation'][1]
    match what:
        case 'category 460' | 'category -1' | "category '2'" | 'category None':
            segment['category_id'] = {
                'category 460': 460,
                'category -1': -1,
                "category '2'": '2',
                'category None': None,
            }[what]
        case 'missing image':
            del imitation.images['2008_000002']
        case 'image of another size':
            imitation.images['2008_000002'] = jpeg(24, 36)
        case 'image is damaged':
            imitation.images['2008_000002'] = b'<html>'
        case 'mask of another size':
            segment['segmentation'] = run_lengths(np.ones((36, 24)))
        case 'mask too short':
            segment['segmentation']['counts'] = segment['segmentation']['counts'][:-2]
        case 'mask of polygons':
            segment['segmentation'] = [[0, 0, 5, 0, 5, 5]]
        case 'segment of an unknown image':
            segment['image_id'] = 1
        case 'no segments':
            del content['annos_segmentation']
        case 'no category':
            del segment['category_id']
        case 'a path for a name':
            content['images'][0]['file_name'] = '../2008_000015.jpg'
        case 'absurd height':
            content['images'][0]['height'] = 10**9
        case 'another file':
            imitation.content = [1, 2]
        case 'no images of val':
            content['images'] = [image for image in content['images'] if image['phase'] != 'val']
            content['annos_segmentation'] = []


@pytest.mark.parametrize(
    'what, sentence',
    [
        ('category 460', r'segment 999 of 2008_000015\.jpg in .* category 460, expected'),
        ('category -1', r'2008_000015\.jpg .* category -1'),
        ("category '2'", r"2008_000015\.jpg .* category '2'"),
        ('category None', r'2008_000015\.jpg .* category None'),
        ('missing image', r'2008_000002\.jpg is missing'),
        ('image of another size', r'2008_000002\.jpg has 24 x 36 pixels, expected 36 x 24'),
        ('image is damaged', r'2008_000002\.jpg is damaged'),
        (
            'mask of another size',
            r'segment 999 of 2008_000015.* 24 x 36 pixels in an image of 36 x 24',
        ),
        ('mask too short', r'segment 999 of 2008_000015.* run-length'),
        ('mask of polygons', r'segment 999 of 2008_000015.* run-length'),
        ('segment of an unknown image', r'segment 999 for image 1'),
        ('no segments', r"trainval_merged\.json .*'annos_segmentation'"),
        ('no category', r"trainval_merged\.json .*'category_id'"),
        ('a path for a name', r"'\.\./2008_000015\.jpg'"),
        ('absurd height', r'the height of 2008_000015\.jpg as 1000000000'),
        ('another file', r'trainval_merged\.json does not have the format'),
        ('no images of val', r'no image for the val split'),
    ],
)
def test_what_is_wrong_is_said(imitation, run_tool, tmp_path, what, sentence):
    wrong(imitation, what)
    imitation.write(tmp_path / 'given')
    said = run_tool(TOOL, 'out', '--from', 'given', '--jobs', 1).sentence
    assert re.search(sentence, said), said
    assert not list((tmp_path / 'out').rglob('*.part'))


@pytest.mark.parametrize(
    'damage, sentence',
    [
        ('truncated json', 'trainval_merged.json is not a complete JSON file'),
        ('no json', 'given does not contain trainval_merged.json; download from https://codalab'),
        ('broken archive', 'VOCtrainval_03-May-2010.tar is damaged'),
        ('no archive', 'given does not contain VOCtrainval_03-May-2010.tar'),
        ('no folder', '--from given is not a folder'),
    ],
)
def test_broken_files(imitation, run_tool, tmp_path, damage, sentence):
    given = tmp_path / 'given'
    if damage != 'no folder':
        imitation.write(given)
        path = given / (ANNOTATIONS if 'json' in damage else IMAGES).name
        data = path.read_bytes()
        path.unlink()
        if not damage.startswith('no '):
            path.write_bytes(data[: len(data) // 3])
    assert sentence in run_tool(TOOL, 'out', '--from', 'given', '--jobs', 1).sentence


def test_after_mending_it_goes_on(imitation, run_tool, tmp_path):
    mended = copy.deepcopy(imitation)
    wrong(imitation, 'missing image')
    imitation.write(tmp_path / 'given')
    run_tool(TOOL, 'out', '--from', 'given', '--jobs', 1)
    mended.write(tmp_path / 'given')
    # Following the advice in the message.
    for path in (tmp_path / 'out' / '.unpacked').iterdir():
        path.unlink()
    assert run_tool(TOOL, 'out', '--from', 'given', '--jobs', 1).status == 0
