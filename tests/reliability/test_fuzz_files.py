"""Damaged images, labels, checkpoints and JSON are read correctly or refused by name."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flipped_bits import small_checkpoint
from fuzzing import cases, damages
from hypothesis import assume, given
from hypothesis import strategies as st
from mmengine.config import Config
from PIL import Image

from mmseg_encnet.checkpoints.files import read_checkpoint
from mmseg_encnet.datasets.checked import build_checked_dataset
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters import coco21, pascal_context
from mmseg_encnet.workbench.converters.coco_format import read_annotations
from mmseg_encnet.workbench.reporting.run_record import read_run

TRANSFORMS = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def sample(root: Path, image: bytes, label: bytes, suffix: str = '.jpg') -> dict[str, Any]:
    """Load one image and its label as in training."""
    for kind, name, data in (('images', f'a{suffix}', image), ('labels', 'a.png', label)):
        folder = root / kind / 'train'
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    dataset = build_checked_dataset(
        Config(
            dict(
                type='MSRC21Dataset',
                data_root=str(root),
                img_suffix=suffix,
                data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
                pipeline=TRANSFORMS,
                serialize_data=False,
            )
        )
    )
    return dataset[0]


RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
LABEL = RNG.integers(0, 21, (24, 40), dtype=np.uint8)
IMAGES = {suffix: encoded(PIXELS, kind) for suffix, kind in (('.jpg', 'JPEG'), ('.png', 'PNG'))}
LABEL_FILE = encoded(LABEL, 'PNG')


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('damaged')


@cases(40)
@given(damages())
def test_damaged_labels(folder, damage):
    """PNG has checksums, so a file is read as it was written or refused."""
    label = damage(LABEL_FILE)
    assume(label != LABEL_FILE)
    try:
        read = sample(folder, IMAGES['.jpg'], label)
    except UserError as error:
        assert str(folder / 'labels' / 'train' / 'a.png') in str(error)
    else:
        np.testing.assert_array_equal(read['data_samples'].gt_sem_seg.data[0], LABEL)


@cases(50)
@given(damages(), st.sampled_from(list(IMAGES)))
def test_damaged_images(folder, damage, suffix):
    """A PNG is read as it was written; a JPEG, which has no checksums, is decoded or refused."""
    image = damage(IMAGES[suffix])
    path = folder / 'images' / 'train' / f'a{suffix}'
    for other in folder.glob('images/train/*'):
        other.unlink()
    try:
        read = sample(folder, image, LABEL_FILE, suffix)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert read['inputs'].shape == (3, 24, 40)
        if suffix == '.png':
            np.testing.assert_array_equal(
                read['inputs'].permute(1, 2, 0).numpy()[..., ::-1], PIXELS
            )


@cases(30)
@given(damages())
def test_damaged_checkpoints(folder, damage):
    path = small_checkpoint(folder / 'small.pth')
    whole = read_checkpoint(path)[0]
    data = path.read_bytes()
    path.write_bytes(damage(data))
    try:
        read = read_checkpoint(path)[0]
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert read.keys() == whole.keys()
        assert all(torch.equal(value, whole[key]) for key, value in read.items())


COCO = dict(
    images=[dict(id=1, file_name='1.jpg', height=9, width=9)],
    annotations=[
        dict(
            id=1,
            image_id=1,
            category_id=1,
            iscrowd=0,
            area=4.0,
            bbox=[0, 0, 2, 2],
            segmentation=[[0, 0, 5, 0, 5, 5, 0, 5]],
        ),
        dict(
            id=2,
            image_id=1,
            category_id=2,
            iscrowd=1,
            area=4.0,
            bbox=[0, 0, 2, 2],
            segmentation=dict(size=[9, 9], counts=[0, 40, 41]),
        ),
    ],
    categories=[dict(id=index, name=name) for index, name in enumerate(coco21.CLASSES, 1)],
)
PASCAL = dict(
    images=[dict(image_id=1, file_name='1.jpg', height=9, width=9, phase='train')],
    annos_segmentation=[
        dict(
            id=1,
            image_id=1,
            category_id=2,
            iscrowd=0,
            area=81,
            segmentation=dict(size=[9, 9], counts=[0, 40, 41]),
        )
    ],
)
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**70),
    st.floats(),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.just('../../evil.jpg'),
    st.just([[]]),
    st.just([1, [2]]),
    st.lists(st.integers(-5, 10**12), max_size=4),
)


@st.composite
def changed(draw: st.DrawFn, content: Any) -> Any:
    """Return the content with one or two values replaced or removed, at any depth."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 2))):
        node = content
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], (dict, list)) and node[key] and draw(st.integers(0, 5)):
                node = node[key]
                continue
            if draw(st.booleans()):
                node[key] = copy.deepcopy(draw(STRANGE))
            else:
                del node[key]
            break
    return content


def read_coco(path: Path) -> list[np.ndarray]:
    sources = read_annotations(path, coco21._sources, 'COCO', 'replace it.')
    return [coco21.draw_label(source) for source in sources]


def read_pascal(path: Path) -> list[np.ndarray]:
    parse = pascal_context._images_and_segments
    images, segments = read_annotations(path, parse, 'Pascal Context', 'replace it.')
    return [pascal_context.draw_label((image, segments[image['image_id']])) for image in images]


def read_log(path: Path) -> list[np.ndarray]:
    run = read_run(path.parents[2])
    return [np.array(curve.values, float) for curve in run.training.values()]


LOG = [dict(lr=0.01, loss=3.5, step=step) for step in (1, 2)] + [dict(mIoU=12.5, step=2)]
# The file, its content, its reader, and what the message names in addition to the file.
JSON_FILES: dict[str, tuple[str, Any, Callable[[Path], list[np.ndarray]], str]] = {
    'COCO': ('instances_train2017.json', COCO, read_coco, coco21.ANNOTATIONS.name),
    'Pascal Context': ('trainval_merged.json', PASCAL, read_pascal, 'trainval_merged.json'),
    'log': ('run/20260101/vis_data/20260101.json', LOG, read_log, 'run'),
}


@pytest.mark.parametrize('name', JSON_FILES)
def test_whole_json(name, folder):
    file, content, read, _ = JSON_FILES[name]
    assert read(write_json(folder / file, content))


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A log has one entry per line.
    lines = content if isinstance(content, list) else [content]
    path.write_text('\n'.join(map(json.dumps, lines)))
    return path


@cases(60)
@given(st.data())
def test_changed_json(folder, data):
    file, content, read, other = JSON_FILES[data.draw(st.sampled_from(list(JSON_FILES)))]
    path = write_json(folder / file, data.draw(changed(content)))
    check_read(path, read, other)


@cases(30)
@given(st.sampled_from(list(JSON_FILES)), damages())
def test_damaged_json(folder, name, damage):
    file, content, read, other = JSON_FILES[name]
    path = write_json(folder / file, content)
    path.write_bytes(damage(path.read_bytes()))
    check_read(path, read, other)


def check_read(path: Path, read: Callable[[Path], list[np.ndarray]], other: str) -> None:
    try:
        arrays = read(path)
    except UserError as error:
        assert str(path) in str(error) or other in str(error)
    else:
        assert all(isinstance(array, np.ndarray) for array in arrays)
