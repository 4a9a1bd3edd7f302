"""Damaged checkpoints are refused before they are used."""

from __future__ import annotations

import random
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from flipped_bits import Outcome, small_checkpoint, try_flips
from mmengine.runner import CheckpointLoader
from mmseg.apis import init_model
from mmseg.registry import MODELS
from tiny_setup import MSRC21

from mmseg_encnet import get_encnet
from mmseg_encnet.checkpoints.whole_files import DamagedFileError, check_undamaged
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.predicting import load_segmentor


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path):
    path = small_checkpoint(tmp_path / 'small.pth')
    bits = random.Random(0).sample(range(8 * path.stat().st_size), 400)
    outcomes = try_flips(path, bits)
    assert not outcomes[Outcome.OTHER_WEIGHTS] and outcomes[Outcome.REFUSED]


def test_a_record_marked_as_a_folder_is_refused(tmp_path):
    """Flip the only bit of the archive's directory that torch reads and no checksum covers."""
    path = small_checkpoint(tmp_path / 'small.pth')
    with ZipFile(path) as archive:
        start = archive.start_dir
    entry = path.read_bytes().rindex(b'small/data/1', start) - 46
    assert try_flips(path, [8 * (entry + 38) + 4]) == {Outcome.REFUSED: 1}


def flip_weight(path: Path) -> None:
    """Flip a bit in the middle of the largest tensor."""
    with ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    content = bytearray(path.read_bytes())
    content[largest.header_offset + largest.file_size // 2] ^= 64
    path.write_bytes(content)


@pytest.fixture
def damaged(tiny_options, tmp_path) -> Path:
    """Return weights of the tiny network with one flipped bit, which torch does not detect."""
    model = MODELS.build(load_config(str(MSRC21), tiny_options).model)
    path = tmp_path / 'weights.pth'
    torch.save(dict(meta={}, state_dict=model.state_dict()), path)
    flip_weight(path)
    torch.load(path)
    return path


def test_every_way_of_reading_weights_refuses(damaged, tiny_options, run_tool, tiny_data, tmp_path):
    cfg = load_config(str(MSRC21), tiny_options)
    ways = {
        'load_segmentor': lambda: load_segmentor(cfg, str(damaged), 'cpu'),
        'get_encnet': lambda: get_encnet('pcontext', 'resnet50s', pretrained=damaged),
        'init_model': lambda: init_model(cfg, str(damaged), 'cpu'),
        'CheckpointLoader': lambda: CheckpointLoader.load_checkpoint(str(damaged)),
    }
    for name, read in ways.items():
        with pytest.raises(UserError) as refused:
            read()
        assert f'checkpoint {damaged} is damaged: its record' in str(refused.value), name
    tools = {
        'test': ([MSRC21, damaged, '--work-dir', 'work'], tiny_options),
        'infer': ([MSRC21, damaged, tiny_data / 'images' / 'val'], tiny_options),
        'model_converters/convert': ([damaged, tmp_path / 'converted.pth'], None),
        'train': ([MSRC21, '--work-dir', 'work'], {**tiny_options, 'load_from': damaged}),
    }
    for name, (arguments, options) in tools.items():
        sentence = run_tool(name, *arguments, options=options).sentence
        assert f'checkpoint {damaged} is damaged: its record' in sentence, name
    options = {
        **tiny_options,
        'model.backbone.init_cfg.type': 'Pretrained',
        'model.backbone.init_cfg.checkpoint': damaged,
    }
    assert f'{damaged} is damaged' in run_tool('train', MSRC21, options=options).sentence
    assert not (tmp_path / 'converted.pth').exists()


def test_compressed_records_are_refused_unread(tmp_path):
    with ZipFile(tmp_path / 'bomb.pth', 'w', ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', bytes(10_000_000))
    with pytest.raises(DamagedFileError, match=r"bomb\.pth.*'archive/data\.pkl' .*compressed"):
        check_undamaged(tmp_path / 'bomb.pth')


def test_the_format_without_checksums_is_left_to_torch(tmp_path):
    torch.save(dict(a=torch.ones(2)), tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    check_undamaged(tmp_path / 'old.pth')
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'old.pth'))['a'].sum() == 2
