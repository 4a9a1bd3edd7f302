"""Images that are too large: refused by name, before they are decoded, and the rest goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import huge_images
import numpy as np
import pytest
import torch
from import_traps import sprung, traps
from mmseg.registry import MODELS
from PIL import Image
from tiny_setup import MSRC21, ROOT, option_strings

from mmseg_encnet import predicting
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError

_MEASURED = (
    'import pathlib, resource, subprocess, sys; '
    'status = subprocess.run(sys.argv[2:]).returncode; '
    'peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss; '
    'pathlib.Path(sys.argv[1]).write_text(str(peak)); sys.exit(status)'
)


@pytest.fixture
def checkpoint(tiny_options, tmp_path) -> Path:
    path = tmp_path / 'tiny.pth'
    torch.save(MODELS.build(load_config(str(MSRC21), tiny_options).model).state_dict(), path)
    return path


def test_a_folder_with_huge_images(checkpoint, tiny_options, environment, tmp_path):
    """The peak is that of the tool's imports and small images, far below one decoded image."""
    folder = tmp_path / 'in'
    folder.mkdir()
    claims = huge_images.write(folder / 'claims.jpg', huge_images.jpeg(65000, 16000))
    assert claims.stat().st_size < 1000
    decodes = huge_images.write(folder / 'decodes.png', huge_images.png(14000, 14000, 1))
    assert decodes.stat().st_size < 200_000
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for name in ('a.png', 'z.png'):
        Image.fromarray(pixels).save(folder / name)
    command = [sys.executable, ROOT / 'tools' / 'infer.py', MSRC21, checkpoint, folder]
    command += ['--device', 'cpu', '--out-dir', tmp_path / 'out', '--cfg-options']
    current = traps(tmp_path / 'current')
    peak = tmp_path / 'peak'
    tool = subprocess.run(
        # From a small process: the peak of a child begins with that of its parent.
        [sys.executable, '-I', '-c', _MEASURED, peak, *command, *option_strings(tiny_options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=current,
    )
    printed = tool.stdout
    assert tool.returncode == 1, printed
    assert '2 of 4 images written' in printed
    errors = [line for line in printed.splitlines() if line.startswith('error: ')]
    for error, name, size in zip(errors, (claims, decodes), ('16000x65000', '14000x14000')):
        assert error.startswith(f'error: image file {name} has {size} pixels (height x width)')
        assert 'exceeds the limit of 89,478,485 pixels; shrink it, or raise the limit' in error
    assert 'DecompressionBomb' not in printed
    records = (tmp_path / 'out' / 'predictions.jsonl').read_text().splitlines()
    assert [json.loads(line)['labels'] for line in records] == ['a.png', 'z.png']
    assert sprung(current) == []
    # In KiB. Decoded, one image takes 3.1 GB and the other 0.6 GB.
    assert int(peak.read_text()) < 900 * 1024


@pytest.mark.parametrize('value', ['0', '-5', 'many'])
def test_invalid_limits(value, run_tool):
    result = run_tool('infer', MSRC21, 'x.pth', 'in', '--max-pixels', value)
    assert result.status == 2
    assert f"invalid positive integer value: '{value}'" in result.err


def test_limits_of_images(checkpoint, tiny_options, tmp_path):
    cfg = load_config(str(MSRC21), tiny_options)
    path = tmp_path / 'image.png'
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(path)
    for limit in (4800, 4799):
        segmentor = predicting.load_segmentor(cfg, str(checkpoint), 'cpu', limit)
        if limit == 4800:
            assert segmentor.predict(path).pred_sem_seg.shape == (60, 80)
            continue
        with pytest.raises(UserError, match=r'60x80 pixels .* limit of 4,799 .* --max-pixels'):
            segmentor.load(path)


def test_more_memory_than_available(checkpoint, tiny_options, tmp_path, monkeypatch):
    """The estimate counts the layers of the network and the labels of the image."""
    options = dict(tiny_options, **{'test_dataloader.dataset.pipeline.Resize.scale': (2048, 2048)})
    segmentor = predicting.load_segmentor(load_config(str(MSRC21), options), str(checkpoint), 'cpu')
    path = huge_images.write(tmp_path / 'image.png', huge_images.png(2100, 2100, 1))
    module = 'mmseg_encnet.predicting.segmentor'
    monkeypatch.setattr(f'{module}.available_bytes', lambda device: 2**27)
    monkeypatch.setattr(segmentor.model, 'test_step', lambda batch: pytest.fail('predicted'))
    with pytest.raises(UserError, match=r'2100x2100 .* needs at least 0\.\d GiB .* 0\.1 GiB are'):
        segmentor.predict(path)


def test_limits_of_videos(tmp_path):
    path = tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    (video,) = predicting.find_inputs([path], tmp_path / 'out', max_pixels=3072)
    assert video.num_images == 1
    with pytest.raises(UserError, match=r'a frame of video .*clip\.avi has 48x64 pixels'):
        predicting.find_inputs([path], tmp_path / 'out', max_pixels=3071)
