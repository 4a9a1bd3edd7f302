"""Malformed members of every format end in one sentence, or are read correctly.

Each format has a whole file, a reader (what the tools call) and a table of changes. In addition,
every format meets the same table of bytes that are something else.
"""

from __future__ import annotations

import copy
import io
import json
import math
import pickle
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from pickled_code import Payload
from PIL import Image
from test_fuzz_files import COCO, IMAGES, LABEL, LABEL_FILE, PASCAL, read_coco, read_pascal, sample
from tiny_setup import MSRC21

from mmseg_encnet.checkpoints.content import check_training_state, dataset_meta
from mmseg_encnet.checkpoints.files import read_checkpoint
from mmseg_encnet.checkpoints.plain_loading import load_from_local
from mmseg_encnet.checkpoints.shipped_weights import FOLDER, read_packed
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError, about
from mmseg_encnet.predicting.inputs import find_inputs
from mmseg_encnet.workbench.converters.archives import unpack
from mmseg_encnet.workbench.converters.labels import read_label
from mmseg_encnet.workbench.reporting import write_report
from mmseg_encnet.workbench.reporting.evaluation_record import _identity, evaluation_record
from mmseg_encnet.workbench.reporting.run_record import read_run
from mmseg_encnet.workbench.studies.definition import load_study
from mmseg_encnet.workbench.studies.results import ResultFolder

LONGEST = 300
HUGE = 10**400


@dataclass(frozen=True)
class Format:
    """A format: the name of its file, a whole one, its reader, and changes of its content."""

    name: str
    whole: Callable[[], bytes]
    read: Callable[[Path], Any]
    changed: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    # What the message names where it is not the file.
    named: str = ''


# What any file can be instead of what its name says.
OTHER_BYTES: dict[str, Callable[[bytes], bytes]] = {
    'empty': lambda whole: b'',
    'one byte': lambda whole: whole[:1],
    'first half': lambda whole: whole[: len(whole) // 2],
    'all but the end': lambda whole: whole[:-9],
    'without its start': lambda whole: whole[9:],
    'zeros': lambda whole: bytes(max(len(whole), 64)),
    'text': lambda whole: b'hello\n',
    'page of a server': lambda whole: b'<!DOCTYPE html><title>404 Not Found</title>',
    'pointer of Git LFS': lambda whole: b'version https://git-lfs.github.com/spec/v1\n',
    'not UTF-8': lambda whole: b'\xff\xfe\x80\x00' * 20,
    'deep brackets': lambda whole: b'[' * 200_000,
    'deep lists': lambda whole: b'[' * 900 + b']' * 900,
    'deep objects': lambda whole: b'{"a":' * 200_000 + b'1' + b'}' * 200_000,
    'empty object': lambda whole: b'{}',
    'null': lambda whole: b'null',
    'number of many digits': lambda whole: b'1' * 5000,
    'pickle': lambda whole: pickle.dumps([1, 2, 3]),
    'zip file of nothing': lambda whole: zipped({}),
    'start of a PNG': lambda whole: b'\x89PNG\r\n\x1a\n' + bytes(30),
}


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def at(content: Any, path: str, value: Any) -> Any:
    """Return a copy of nested content with the value at a dotted path replaced."""
    content = with_lists(copy.deepcopy(content))
    *parents, last = [int(key) if key.lstrip('-').isdigit() else key for key in path.split('.')]
    node = content
    for key in parents:
        node = node[key]
    if value is REMOVED:
        del node[last]
    else:
        node[last] = value
    return content


def with_lists(content: Any) -> Any:
    """Return nested content with lists in place of tuples."""
    if isinstance(content, dict):
        return {key: with_lists(value) for key, value in content.items()}
    return [*map(with_lists, content)] if isinstance(content, (list, tuple)) else content


REMOVED = object()
WRONG = {
    'none': None,
    'text': 'text',
    'number': -1,
    'list': [[]],
    'huge': HUGE,
    'missing': REMOVED,
}


def changes(
    content: Any,
    encode: Callable[[Any], bytes],
    paths: str,
    extra: dict[str, tuple[str, Any]] | None = None,
) -> dict[str, Callable[[], bytes]]:
    """Return files in which the value at each path is replaced by values of another type."""
    table = {
        f'{path}: {name}': (path, value) for path in paths.split() for name, value in WRONG.items()
    }
    return {
        name: partial(lambda path, value: encode(at(content, path, value)), path, value)
        for name, (path, value) in {**table, **(extra or {})}.items()
    }


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def checkpoint() -> dict[str, Any]:
    torch.manual_seed(0)
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return dict(
        meta=dict(
            epoch=0,
            iter=3,
            seed=0,
            dataset_meta=dict(classes=('a', 'b'), palette=[[0, 0, 0], [1, 2, 3]]),
        ),
        state_dict=layer.state_dict(),
        optimizer=optimizer.state_dict(),
        message_hub=dict(
            log_scalars={'train/loss': HistoryBuffer([1.0, 2.0], [1, 1])},
            runtime_info=dict(iter=3),
            resumed_keys={'train/loss': True},
        ),
        param_schedulers=[dict(last_step=3, _global_step=4, power=0.9, begin=0, end=9)],
        process_states=[dict(random=dict(), gradients={}, threads=1)],
    )


def read_weights(path: Path) -> Any:
    state_dict, meta = read_checkpoint(path)
    with about(f'checkpoint {path}'):
        found = dataset_meta(dict(meta=meta))
        check_training_state(load_from_local(path))
    return state_dict, found


CHECKPOINT_PATHS = (
    'meta meta.iter meta.dataset_meta.classes.1 meta.dataset_meta.palette '
    'meta.dataset_meta.palette.0 meta.dataset_meta.palette.1.2 state_dict state_dict.weight '
    'optimizer optimizer.state optimizer.state.0 optimizer.param_groups '
    'optimizer.state.0.momentum_buffer optimizer.param_groups.0 optimizer.param_groups.0.lr '
    'optimizer.param_groups.0.params message_hub message_hub.log_scalars message_hub.resumed_keys '
    'message_hub.runtime_info param_schedulers param_schedulers.0 param_schedulers.0.last_step '
    'param_schedulers.0.power process_states process_states.0 process_states.0.gradients'
)
CHECKPOINT_EXTRAS = {
    'classes are numbers': ('meta.dataset_meta.classes', [1, 2]),
    'colours above 255': ('meta.dataset_meta.palette', [[0, 0, 256], [0, 0, 0]]),
    'method of a scheduler': ('param_schedulers.0.step', 'x'),
    'no history': ('message_hub.log_scalars', {'train/loss': [1.0]}),
    'NaN weights': ('state_dict.weight', torch.full((2, 2), math.nan)),
    'complex weights': ('state_dict.weight', torch.zeros(2, 2, dtype=torch.complex64)),
    'sparse weights': ('state_dict.weight', torch.eye(2).to_sparse()),
    'keys are numbers': ('state_dict', {1: torch.zeros(2)}),
}


class Run:
    """A run of a study, without a config."""

    name = 'record'
    variant = SimpleNamespace(name='variant')

    def digest(self) -> str:
        return 'abc'


RECORD = dict(
    digest='abc',
    metrics=dict(mIoU=50.0),
    validation=[[1, 2.0], [2, 3.0]],
    loss=[[1, 2.0]],
    areas=[[[0, 1, 2, 3]], []],
    num_classes=4,
    parameters=10,
    receptive_field=9,
    seconds_per_iteration=0.5,
    peak_memory=100,
    machine='machine',
)
RECORD_PATHS = (
    'digest metrics metrics.mIoU validation validation.0 validation.0.0 loss.0.1 areas areas.0 '
    'areas.0.0 areas.0.0.0 areas.0.0.3 num_classes parameters receptive_field '
    'seconds_per_iteration peak_memory machine'
)
RECORD_EXTRAS = {
    'ten thousand million classes': ('num_classes', 10**10),
    'no classes': ('num_classes', 0),
    'class outside': ('areas.0.0.0', 4),
    'many classes': ('num_classes', 10_000),
    'infinite time': ('seconds_per_iteration', math.inf),
    'no validation': ('validation', []),
    'fractional class': ('areas.0.0.0', 0.5),
    'true as class': ('areas.0.0.0', True),
    'unknown entry': ('more', 1),
    'half a surrogate': ('machine', '\ud800'),
}


def read_record(path: Path) -> np.ndarray:
    result = ResultFolder(path.parent).read(Run())
    assert result is not None
    return result.image_areas()


LOG = [dict(lr=0.01, loss=3.5, time=0.1, memory=10, step=step) for step in (1, 2)] + [
    dict(mIoU=12.5, step=2)
]


def lines(content: Any) -> bytes:
    return '\n'.join(map(json.dumps, content)).encode()


def read_log(path: Path) -> Any:
    run = read_run(path.parents[2])
    return run.iterations, run.seconds_per_iteration, run.training_memory


def report_on_log(path: Path) -> str:
    out = path.parents[3] / 'report.html'
    write_report([path.parents[2]], out, evaluate=False)
    return out.read_text('utf-8')


def encoded(kind: str, pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def read_image_file(path: Path) -> Any:
    return sample(path.parent / 'sample', path.read_bytes(), LABEL_FILE)['inputs']


def read_label_file(path: Path) -> Any:
    return read_label(path), sample(path.parent / 'sample', IMAGES['.jpg'], path.read_bytes())


@cache
def video() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'a.avi')
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
        for value in range(4):
            writer.write(np.full((48, 64, 3), 60 * value, np.uint8))
        writer.release()
        return path.read_bytes()


def read_video(path: Path) -> int:
    return sum(1 for _ in find_inputs([path], path.parent / 'out')[0].images())


def tar(*members: tuple[str, bytes], mode: str = 'w') -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def read_archive(path: Path) -> list[str]:
    out = path.parent / 'unpacked'
    unpack(path, out)
    return [str(file) for file in out.rglob('*')]


def link(kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        info = tarfile.TarInfo('link')
        info.type, info.linkname = kind, '/etc/passwd'
        archive.addfile(info)
    return buffer.getvalue()


ARCHIVE_NAMES = {
    'long name': 'x' * 300 + '.jpg',
    'long folder': 'x' * 300 + '/a.jpg',
    'very deep': 'd/' * 3000 + 'a.jpg',
    'absolute': '/etc/evil',
    'parent': '../evil',
    'drive': 'C:/evil',
    'backslashes': '..\\evil',
    'empty': '',
    'dot': '.',
}


def with_bytes(whole: bytes, place: int, value: bytes) -> bytes:
    return whole[:place] + value + whole[place + len(value) :]


PACKED = FOLDER / 'encnet_lite0_msrc21.safetensors'


def packed_header(change: Callable[[dict], Any]) -> bytes:
    whole = PACKED.read_bytes()
    size = int.from_bytes(whole[:8], 'little')
    header = json.loads(whole[8 : 8 + size])
    text = json.dumps(change(header)).encode()
    return len(text).to_bytes(8, 'little') + text + whole[8 + size :]


def with_fact(key: str, value: Any) -> Callable[[], bytes]:
    def change(header: dict) -> dict:
        if value is REMOVED:
            del header['__metadata__'][key]
        else:
            header['__metadata__'][key] = value
        return header

    return lambda: packed_header(change)


CONFIG = b"model = dict(type='EncoderDecoder')\ntest_dataloader = dict()\n"
STUDY = (
    b"config = 'encnet_r18_msrc21'\nmetric = 'mIoU'\nbaseline = 'a'\nseeds = [0]\n"
    b"variants = [dict(name='a')]\n"
)
STUDY_CHANGES = {
    'seeds of text': (b'seeds = [0]', b"seeds = ['a']"),
    'seeds is a number': (b'seeds = [0]', b'seeds = 3'),
    'no seeds': (b'seeds = [0]', b'seeds = []'),
    'variants is a number': (b"[dict(name='a')]", b'3'),
    'variant is text': (b"[dict(name='a')]", b"['a']"),
    'name is a number': (b"name='a'", b'name=3'),
    'options is a list': (b"name='a'", b"name='a', options=[1]"),
    'metric is a number': (b"metric = 'mIoU'", b'metric = 3'),
    'config is a number': (b"config = 'encnet_r18_msrc21'", b'config = 3'),
    'full size is a number': (b'seeds', b'full_size = 3\nseeds'),
}
CACHE = dict(
    checkpoint='a.pth',
    dataset='data',
    classes=['a', 'b'],
    palette=[[0, 0, 0], [1, 1, 1]],
    metrics=dict(mIoU=1.0),
    images_per_second=1.0,
    peak_memory=3,
    parameters=3,
    parameters_at_inference=3,
    machine='machine',
    sheets=[],
)


def read_cache(path: Path) -> Any:
    cfg, weights = Config(dict(a=1)), path.parent / 'weights.pth'
    weights.write_bytes(b'weights')
    folder = path.parent / 'cache' / _identity(cfg, weights)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / 'arrays.npz', confusion=np.eye(2, dtype=int), present=np.ones((1, 2), bool))
    (folder / path.name).write_bytes(path.read_bytes())
    return evaluation_record(cfg, weights, path.parent / 'cache', '')


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


FORMATS = {
    'checkpoint': Format(
        'weights.pth',
        lambda: saved(checkpoint()),
        read_weights,
        {
            **changes(checkpoint(), saved, CHECKPOINT_PATHS, CHECKPOINT_EXTRAS),
            'list': lambda: saved([1]),
            'tensor': lambda: saved(torch.ones(3)),
            'nested state dict': lambda: saved(dict(state_dict=dict(state_dict={}))),
            'code': lambda: saved(dict(state_dict=Payload(Path('/nonexistent/ran')))),
            'two checkpoints in a zip file': lambda: zipped({'a.pth': b'a', 'b.pth': b'b'}),
            'checkpoint with a long name in a zip file': lambda: zipped({'x' * 300 + '.pth': b'a'}),
        },
    ),
    'study record': Format(
        'record.json', lambda: as_json(RECORD), read_record,
        changes(RECORD, as_json, RECORD_PATHS, RECORD_EXTRAS),
    ),
    'training log': Format(
        'run/20260101_000000/vis_data/20260101.json', lambda: lines(LOG), read_log,
        changes(LOG, lines, '0.step 0.loss 0.lr 0.memory 2.mIoU'),
        named='run',
    ),
    'report on a log': Format(
        'run/20260101_000000/vis_data/20260101.json', lambda: lines(LOG), report_on_log,
        changes(LOG, lines, '', {
            'NaN loss': ('0.loss', math.nan),
            'infinite memory': ('0.memory', math.inf),
            'NaN time': ('0.time', math.nan),
            'step is true': ('0.step', True),
            'late step': ('1.step', 10**15),
            'loss of 1e308': ('0.loss', 1e308),
            'name with an angle bracket': ('0.<script>', 1.0),
        }),
        named='run',
    ),
    'COCO': Format(
        'instances_train2017.json', lambda: as_json(COCO), read_coco,
        changes(COCO, as_json, 'images images.0 images.0.id images.0.file_name images.0.height '
                'annotations annotations.0 annotations.0.image_id annotations.0.category_id '
                'annotations.0.segmentation annotations.0.segmentation.0.0 '
                'annotations.1.segmentation.counts annotations.1.segmentation.size.0 '
                'annotations.1.segmentation.counts.1 categories categories.0.name'),
        named='annotations_trainval2017.zip',
    ),
    'Pascal Context': Format(
        'trainval_merged.json', lambda: as_json(PASCAL), read_pascal,
        changes(PASCAL, as_json, 'images.0 images.0.image_id images.0.width images.0.phase '
                'annos_segmentation annos_segmentation.0 annos_segmentation.0.id '
                'annos_segmentation.0.category_id annos_segmentation.0.segmentation '
                'annos_segmentation.0.segmentation.size'),
    ),
    'label': Format('a.png', lambda: LABEL_FILE, read_label_file, {
        'colours': lambda: encoded('PNG', np.zeros((24, 40, 3), np.uint8)),
        'grey and alpha': lambda: encoded('PNG', np.zeros((24, 40, 2), np.uint8)),
        '16 bits': lambda: encoded('PNG', np.full((24, 40), 300, np.uint16)),
        'class outside': lambda: encoded('PNG', np.full((24, 40), 77, np.uint8)),
        'other size': lambda: encoded('PNG', np.zeros((3, 4), np.uint8)),
        'floats': lambda: encoded('TIFF', np.zeros((24, 40), np.float32)),
        'JPEG': lambda: encoded('JPEG', LABEL),
        'wrong checksum': lambda: with_bytes(LABEL_FILE, 29, b'\0\0\0\0'),
        'no pixels': lambda: with_bytes(LABEL_FILE, 16, bytes(8)),
        'many pixels': lambda: with_bytes(LABEL_FILE, 16, b'\x7f\xff\xff\xff' * 2),
    }),
    'image': Format('a.jpg', lambda: IMAGES['.jpg'], read_image_file, {
        'PNG': lambda: IMAGES['.png'],
        'grey': lambda: encoded('JPEG', LABEL),
        'other size': lambda: encoded('JPEG', np.zeros((3, 4, 3), np.uint8)),
        'one pixel': lambda: encoded('JPEG', np.zeros((1, 1, 3), np.uint8)),
        'CMYK': lambda: encoded('JPEG', np.zeros((24, 40, 3), np.uint8), quality=1),
        'animated': lambda: encoded('GIF', LABEL),
    }, named='a.'),
    'video': Format('a.avi', video, read_video),
    'zip archive': Format('a.zip', lambda: zipped({'a/b.txt': b'b'}), read_archive, {
        **{
            name: partial(zipped, {entry: b'content'})
            for name, entry in ARCHIVE_NAMES.items()
            if entry
        },
        'empty name': lambda: zipped({'a': b''}).replace(b'\x01\x00\x00\x00a', b'\0' * 4),
        'file and folder': lambda: zipped({'a': b'1', 'a/b': b'2'}),
        'encrypted': lambda: zipped({'a': b'1'}).replace(
            b'PK\x01\x02\x14\x03\x14\x00\x00', b'PK\x01\x02\x14\x03\x14\x00\x01'
        ),
        'unknown compression': lambda: with_bytes(zipped({'a': b'1'}), 8, b'\x63'),
        'name is not UTF-8': lambda: zipped({'ä': b'1'}).replace('ä'.encode(), b'\xff\xff'),
    }),
    'tar archive': Format('a.tar', lambda: tar(('a/b.txt', b'b')), read_archive, {
        **{name: partial(tar, (entry, b'content')) for name, entry in ARCHIVE_NAMES.items()},
        'link': lambda: link(tarfile.SYMTYPE),
        'hard link': lambda: link(tarfile.LNKTYPE),
        'device': lambda: link(tarfile.CHRTYPE),
        'pipe': lambda: link(tarfile.FIFOTYPE),
        'size is text': lambda: with_bytes(tar(('a', b'1')), 124, b'hello      '),
        'size is negative': lambda: with_bytes(tar(('a', b'1')), 124, b'\xff' * 12),
        'size is huge': lambda: with_bytes(tar(('a', b'1')), 124, b'\x80' + b'\x7f' * 11),
        'compressed half': lambda: tar(('a', bytes(5000)), mode='w:gz')[:60],
    }),
    'config': Format('mine.py', lambda: CONFIG, partial(lambda path: load_config(str(path))), {
        'model is a number': lambda: CONFIG.replace(b"dict(type='EncoderDecoder')", b'3'),
        'model is a list': lambda: CONFIG.replace(b"dict(type='EncoderDecoder')", b'[3]'),
        'type is a number': lambda: CONFIG.replace(b"'EncoderDecoder'", b'3'),
        'loader is a list': lambda: CONFIG.replace(b'dict()', b'[1]'),
        'base is a number': lambda: b'_base_ = 3\n',
        'base is itself': lambda: b"_base_ = './mine.py'\n",
        'error of division': lambda: b'a = 1 / 0\n',
        'exit': lambda: b'import sys\nsys.exit(3)\n',
        'deep expression': lambda: b'a = ' + b'(' * 500 + b')' * 500,
        'other coding': lambda: b'# -*- coding: latin-1 -*-\na = "\xe4"\n',
        'imports': lambda: b'custom_imports = 3\n',
    }),
    'study file': Format('study.py', lambda: STUDY, load_study, {
        name: partial(STUDY.replace, *pair) for name, pair in STUDY_CHANGES.items()
    }),
    'shipped network': Format('a.safetensors', PACKED.read_bytes, read_packed, {
        'header is too long': lambda: with_bytes(PACKED.read_bytes(), 0, b'\xff' * 8),
        'header is a list': lambda: packed_header(lambda header: [1]),
        'no facts': lambda: packed_header(
            lambda header: {key: value for key, value in header.items() if key[0] != '_'}
        ),
        'backbone is unknown': with_fact('backbone', 'mars'),
        'no backbone': with_fact('backbone', REMOVED),
        'no classes': with_fact('dataset_meta', REMOVED),
        'classes are not JSON': with_fact('dataset_meta', '{'),
        'classes are nested': with_fact('dataset_meta', '[' * 100_000),
        'classes are a list': with_fact('dataset_meta', '[1]'),
        'classes are numbers': with_fact('dataset_meta', '{"classes": [1], "palette": []}'),
        'another checksum': with_fact('sha1', 'abc'),
    }),
    'cached evaluation': Format('evaluation.json', lambda: as_json(CACHE), read_cache,
        changes(CACHE, as_json, 'classes classes.0 palette palette.0 palette.0.1 metrics '
                'metrics.mIoU parameters peak_memory sheets machine images_per_second'),
        named='cached evaluation'),
}  # fmt: skip


def cases() -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    for kind, form in FORMATS.items():
        for name, change in OTHER_BYTES.items():
            yield kind, name, partial(lambda form, change: change(form.whole()), form, change)
        for name, make in form.changed.items():
            yield kind, name, make


CASES = {f'{kind}: {name}': (kind, make) for kind, name, make in cases()}


def test_enough_cases():
    assert len(CASES) > 500


@pytest.mark.parametrize('kind', FORMATS)
def test_whole_file_is_read(kind, tmp_path):
    form = FORMATS[kind]
    assert form.read(write(tmp_path, form.name, form.whole())) is not None


@pytest.mark.parametrize('kind', FORMATS)
@pytest.mark.filterwarnings('ignore')
def test_malformed_file_ends_in_one_sentence(kind, tmp_path):
    faults = []
    for name, (owner, make) in CASES.items():
        if owner != kind:
            continue
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        faults += [f'{name}: {fault}' for fault in fault_of(FORMATS[kind], make(), folder)]
    assert not faults, f'{len(faults)} faults\n' + '\n'.join(faults)


def fault_of(form: Format, content: bytes, folder: Path) -> Iterator[str]:
    """Yield what is wrong with how a file is read."""
    path = write(folder, form.name, content)
    try:
        result = form.read(path)
    except UserError as error:
        message = str(error).replace(str(folder), '').strip()
        if '\n' in message:
            yield f'several lines: {message!r}'
        if len(message) > LONGEST:
            yield f'{len(message)} characters: {message}'
        if path.name not in message and (not form.named or form.named not in message):
            yield f'does not name the file: {message}'
    except BaseException as error:
        yield f'{type(error).__name__}: {str(error)[:200]}'
    else:
        if result is None:
            yield 'nothing was read'


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


TRAINING_STATE = {
    'meta is text': ('meta', 'text'),
    'iteration is text': ('meta.iter', 'three'),
    'no iteration': ('meta.iter', REMOVED),
    'optimiser is a number': ('optimizer', 3),
    'momentum is text': ('optimizer.state.0.momentum_buffer', 'text'),
    'momentum of another shape': ('optimizer.state.0.momentum_buffer', torch.zeros(3)),
    'learning rate is text': ('optimizer.param_groups.0.lr', 'fast'),
    'fewer groups': ('optimizer.param_groups', []),
    'message hub is a list': ('message_hub', [1]),
    'histories are a number': ('message_hub.log_scalars', 3),
    'schedulers are text': ('param_schedulers', 'text'),
    'step of a scheduler is text': ('param_schedulers.0.last_step', 'text'),
    'method of a scheduler': ('param_schedulers.0.step', 3),
    'random states are a number': ('process_states.0.random', 3),
    'random state of Python is text': ('process_states.0.random.python', 'text'),
    'random state of PyTorch is short': ('process_states.0.random.torch', torch.zeros(3)),
    'gradients are text': ('process_states.0.gradients', 'text'),
    'weights are text': ('state_dict', 'text'),
    'a weight is text': ('state_dict.decode_head\tconv_seg\tweight', 'text'),
}


@pytest.mark.parametrize('tool', ['test', 'infer'])
@pytest.mark.parametrize('name', ['weights are text', 'a weight is text'])
def test_malformed_weights_of_a_network(name, tool, run_tool, trained, tiny_data, tiny_options):
    path = write_changed(trained, name)
    inputs = [tiny_data / 'images/val'] if tool == 'infer' else ['--work-dir', 'other']
    sentence = run_tool(tool, MSRC21, path, *inputs, options=tiny_options).sentence
    assert path.name in sentence and len(sentence.replace(str(path), '')) <= LONGEST, sentence


def test_malformed_training_state_is_refused_on_resuming(run_tool, trained, tiny_options):
    options = {**tiny_options, 'train_cfg.max_iters': 4, 'train_cfg.val_interval': 4}
    whole = trained.read_bytes()
    faults = []
    for name in TRAINING_STATE:
        path = write_changed(trained, name)
        try:
            result = run_tool('train', MSRC21, '--work-dir', 'work', '--resume', options=options)
            sentence = result.sentence.replace(str(path), path.name)
            assert path.name in sentence and len(sentence) <= LONGEST, sentence
        except Exception as error:
            faults.append(f'{name}: {type(error).__name__}: {str(error)[:300]}')
        trained.write_bytes(whole)
    assert not faults, '\n'.join(faults)


@pytest.fixture
def trained(run_tool, tiny_options, tmp_path) -> Path:
    """Return the checkpoint of a short training."""
    assert run_tool('train', MSRC21, '--work-dir', 'work', options=tiny_options).status == 0
    return tmp_path / 'work' / 'iter_2.pth'


def write_changed(path: Path, name: str) -> Path:
    keys, value = TRAINING_STATE[name]
    torch.save(at_path(load_from_local(path), keys, value), path)
    return path


def at_path(content: Any, keys: str, value: Any) -> Any:
    """As :func:`at`, without copying, for keys that contain dots written as tabs."""
    *parents, last = [
        int(key) if key.isdigit() else key.replace('\t', '.') for key in keys.split('.')
    ]
    node = content
    for key in parents:
        node = node[key]
    if value is REMOVED:
        del node[last]
    else:
        node[last] = value
    return content
