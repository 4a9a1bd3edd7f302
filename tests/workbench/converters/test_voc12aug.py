"""VOC 2012 with SBD, converted by the tool from imitations of their archives."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from publisher_files import jpeg, png, write_tar
from scipy.io import savemat
from tiny_setup import ROOT

from mmseg_encnet.workbench.converters.labels import read_label
from mmseg_encnet.workbench.converters.voc12aug import SBD, VOC

TOOL = 'dataset_converters/voc12aug'
VOC_TRAIN = ['2007_000032', '2008_000008']
VOC_VAL = ['2007_000033', '2008_000002']
SBD_TRAIN = ['2008_000008', '2010_000015', '2008_000002']
SBD_VAL = ['2011_000007', '2008_000009']


def mat(label: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    boundaries = np.zeros(20, object)
    boundaries[:] = [np.zeros((0, 0))] * 20
    savemat(
        buffer,
        dict(
            GTcls=dict(
                Boundaries=boundaries[:, None],
                Segmentation=label,
                CategoriesPresent=np.unique(label)[:, None],
            )
        ),
        do_compression=True,
    )
    return buffer.getvalue()


class Imitation:
    """The files of both publishers by name in their archives, and the label of each image."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.voc = {
            'VOCdevkit/VOC2012/Annotations/2007_000032.xml': b'<annotation/>',
            'VOCdevkit/VOC2012/ImageSets/Main/train.txt': b'2007_000032\n',
        }
        self.sbd = {'benchmark_RELEASE/README': b'', 'benchmark_RELEASE/dataset/inst/a.mat': b''}
        self.sizes: dict[str, tuple[int, int]] = {}
        self.labels: dict[str, np.ndarray] = {}
        for name in sorted({*VOC_TRAIN, *VOC_VAL, *SBD_TRAIN, *SBD_VAL}):
            self.sizes[name] = (24, 36) if len(self.sizes) % 2 else (36, 24)
            self.voc[f'VOCdevkit/VOC2012/JPEGImages/{name}.jpg'] = jpeg(*self.sizes[name])
        # Most images of VOC have no label.
        self.voc['VOCdevkit/VOC2012/JPEGImages/2012_004331.jpg'] = jpeg(24, 36)
        for name in SBD_TRAIN + SBD_VAL:
            self.labels[name] = rng.integers(0, 21, self.sizes[name], np.uint8)
            self.sbd[f'benchmark_RELEASE/dataset/cls/{name}.mat'] = mat(
                # Both floating-point and uint8 labels occur.
                self.labels[name].astype(float if name in SBD_VAL else np.uint8)
            )
            self.sbd[f'benchmark_RELEASE/dataset/img/{name}.jpg'] = jpeg(*self.sizes[name])
        self.sbd_labels = dict(self.labels)
        for name in VOC_TRAIN + VOC_VAL:
            label = rng.integers(0, 21, self.sizes[name], np.uint8)
            label[::5] = 255
            self.labels[name] = label
            for kind in ('Class', 'Object'):
                self.voc[f'VOCdevkit/VOC2012/Segmentation{kind}/{name}.png'] = png(
                    label, palette=True
                )
        for folder, content, split, names in (
            ('VOCdevkit/VOC2012/ImageSets/Segmentation', self.voc, 'train', VOC_TRAIN),
            ('VOCdevkit/VOC2012/ImageSets/Segmentation', self.voc, 'val', VOC_VAL),
            ('VOCdevkit/VOC2012/ImageSets/Segmentation', self.voc, 'trainval', VOC_TRAIN + VOC_VAL),
            ('benchmark_RELEASE/dataset', self.sbd, 'train', SBD_TRAIN),
            ('benchmark_RELEASE/dataset', self.sbd, 'val', SBD_VAL),
        ):
            content[f'{folder}/{split}.txt'] = ''.join(f'{name}\n' for name in names).encode()

    def write(self, folder: Path) -> None:
        folder.mkdir()
        write_tar(folder / VOC.name, self.voc)
        write_tar(folder / SBD.name, self.sbd, 'w:gz')


@pytest.mark.parametrize('jobs', [1, 2])
def test_labels_and_lists(run_tool, tmp_path, jobs):
    imitation = Imitation()
    imitation.write(tmp_path / 'given')
    result = run_tool(TOOL, 'out', '--from', 'given', '--jobs', jobs)
    assert result.status == 0, result.err
    out = tmp_path / 'out'
    for folder, labels in (
        ('SegmentationClassAug', imitation.labels),
        ('SegmentationClassSBD', imitation.sbd_labels),
    ):
        written = {path.stem: read_label(path) for path in (out / folder).iterdir()}
        assert written.keys() == labels.keys()
        for name, label in labels.items():
            assert written[name].dtype == np.uint8 and np.array_equal(written[name], label), name
    lists = {
        path.stem: path.read_text().split() for path in (out / 'ImageSets/Segmentation').iterdir()
    }
    assert lists == dict(
        train=VOC_TRAIN,
        val=VOC_VAL,
        trainval=VOC_TRAIN + VOC_VAL,
        sbd_trainval=sorted(SBD_TRAIN + SBD_VAL),
        trainaug=sorted({*VOC_TRAIN, *SBD_TRAIN, *SBD_VAL} - {*VOC_VAL}),
    )
    assert not (out / 'SegmentationObject').exists() and not (out / 'Annotations').exists()
    lines = [line.split()[:4] for line in result.out.splitlines()]
    for config, train in (
        ('encnet_r50_voc12aug', 5),
        ('encnet_r101_voc12_from-aug', 4),
        ('encnet_r101_voc12aug_from-coco', 5),
    ):
        assert [config, 'train', str(train), str(train)] in lines
        assert [config, 'val', '2', '2'] in lines


def test_into_the_folder_that_the_config_names(run_tool, tmp_path):
    Imitation().write(tmp_path / 'given')
    assert run_tool(TOOL, '--from', 'given', '--jobs', 1).status == 0
    root = Config.fromfile(ROOT / 'configs' / 'encnet_r50_voc12aug.py').data_root
    assert (tmp_path / root / 'SegmentationClassAug').is_dir()


@pytest.mark.parametrize(
    'archive, name, content, sentence',
    [
        ('sbd', 'benchmark_RELEASE/dataset/cls/2010_000015.mat', b'no matlab', 'is damaged'),
        (
            'sbd',
            'benchmark_RELEASE/dataset/cls/2010_000015.mat',
            mat(np.zeros((24, 36), np.uint8))[:-20],
            'is damaged',
        ),
        (
            'sbd',
            'benchmark_RELEASE/dataset/cls/2010_000015.mat',
            mat(np.full((24, 36), 21, np.uint8)),
            'contains the class 21',
        ),
        (
            'sbd',
            'benchmark_RELEASE/dataset/cls/2010_000015.mat',
            mat(np.full((5, 6), 1, np.uint8)),
            'has 6 x 5 pixels',
        ),
        (
            'sbd',
            'benchmark_RELEASE/dataset/cls/2010_000015.mat',
            mat(np.full((24, 36), 2.5)),
            'contains the class 2.5',
        ),
        (
            'sbd',
            'benchmark_RELEASE/dataset/cls/2010_000015.mat',
            mat(np.full((24, 36, 3), 1, np.uint8)),
            'label of shape (24, 36, 3)',
        ),
        ('sbd', 'benchmark_RELEASE/dataset/cls/2010_000015.mat', None, 'is missing'),
        ('sbd', 'benchmark_RELEASE/dataset/val.txt', None, 'cannot be read'),
        ('voc', 'VOCdevkit/VOC2012/JPEGImages/2010_000015.jpg', None, 'is missing'),
        ('voc', 'VOCdevkit/VOC2012/SegmentationClass/2007_000033.png', None, 'is missing'),
        (
            'voc',
            'VOCdevkit/VOC2012/SegmentationClass/2007_000033.png',
            png(np.full((36, 24), 30, np.uint8), palette=True),
            'contains the class 30',
        ),
        (
            'voc',
            'VOCdevkit/VOC2012/SegmentationClass/2007_000033.png',
            png(np.zeros((36, 24, 3), np.uint8)),
            'has 3 channels',
        ),
        ('voc', 'VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt', None, 'cannot be read'),
    ],
    ids=lambda value: value if isinstance(value, str) else 'content',
)
def test_what_is_wrong_is_said(run_tool, tmp_path, archive, name, content, sentence):
    imitation = Imitation()
    members = getattr(imitation, archive)
    if content is None:
        del members[name]
    else:
        members[name] = content
    imitation.write(tmp_path / 'given')
    said = run_tool(TOOL, 'out', '--from', 'given', '--jobs', 1).sentence
    assert sentence in said and Path(name).stem in said


def test_broken_archive(run_tool, tmp_path):
    Imitation().write(tmp_path / 'given')
    path = tmp_path / 'given' / SBD.name
    path.write_bytes(path.read_bytes()[:-100])
    assert (
        f'{SBD.name} is damaged' in run_tool(TOOL, 'out', '--from', 'given', '--jobs', 1).sentence
    )
