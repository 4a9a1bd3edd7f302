"""Sizes from headers, and the limit that is checked before a file is decoded."""

from __future__ import annotations

import io
import tracemalloc
import warnings
from itertools import product

import cv2
import huge_images
import mmcv
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmseg_encnet.datasets.checked import build_checked_dataset
from mmseg_encnet.datasets.image_sizes import (
    MAX_PIXELS,
    check_stored_size,
    open_image,
    stored_size,
)
from mmseg_encnet.errors import UserError

CLAIMS = {
    'jpg': huge_images.jpeg(65000, 16000),
    'png': huge_images.png(14000, 14000, 1, rows=40),
    'bmp': huge_images.bmp(40000, 30000),
    'tif': huge_images.tiff(40000, 30000),
    'tiff': huge_images.tiff(40000, 30000, 12, 32, big=True),
    'webp': huge_images.webp(16383, 16000),
    'gif': b'GIF89a' + bytes.fromhex('10271027') + bytes(3),
    'ppm': b'P6\n65000 16000\n255\n',
    'pam': b'P7\nWIDTH 65000\nHEIGHT 16000\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n',
    'hdr': b'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 40000\n',
    'npy': huge_images.npy(40000, 30000),
}


@pytest.mark.parametrize('suffix', CLAIMS)
@pytest.mark.parametrize('named', ['as it is', 'jpg'])
def test_files_that_claim_too_much(suffix, named, tmp_path):
    """The content decides, not the suffix: so it does for the decoders."""
    path = huge_images.write(
        tmp_path / f'x.{suffix if named == "as it is" else named}', CLAIMS[suffix]
    )
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(UserError, match=r'x\.\w+ has \d+x\d+ pixels') as refused:
            check_stored_size(path, MAX_PIXELS)
    assert '89,478,485 pixels; shrink it' in str(refused.value)
    check_stored_size(path, 10**10)


def test_a_chunk_that_claims_too_much_takes_no_memory(tmp_path):
    buffer = io.BytesIO()
    Image.new('L', (36, 40)).save(buffer, 'png')
    path = tmp_path / 'a.png'
    # The first byte of the length of the chunk with the pixels.
    content = bytearray(buffer.getvalue())
    content[content.index(b'IDAT') - 4] = 0x4D
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with open_image(path) as image:
            image.load()
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    'suffix, channels', [*product(['bmp', 'jpg', 'png', 'tif', 'webp'], [1, 3, 4]), ('ppm', 3)]
)
def test_the_header_says_what_the_decoder_finds(suffix, channels, tmp_path):
    path = tmp_path / f'x.{suffix}'
    pixels = np.random.default_rng(0).integers(0, 256, (31, 45, channels), np.uint8)
    cv2.imwrite(str(path), pixels)
    decoded = mmcv.imread(str(path), flag='unchanged')
    assert stored_size(path)[:2] == decoded.shape[:2] == (31, 45)


def test_tiff_with_many_channels_or_pages(tmp_path):
    path = tmp_path / 'x.tif'
    tifffile.imwrite(path, np.zeros((20, 30, 12), np.float32), planarconfig='contig')
    assert stored_size(path) == (20, 30, 48)
    assert stored_size(path).pixels == 6 * 20 * 30
    # Only tifffile decodes all pages.
    tifffile.imwrite(path, np.zeros((50, 20, 30, 3), np.uint8), photometric='rgb')
    assert stored_size(path).pixels == 20 * 30
    assert stored_size(path, 'tifffile') == (20, 30, 150)
    # A page that is stored once, for a claimed number of images.
    tifffile.imwrite(path, shape=(5000, 20, 30), dtype=np.uint8)
    assert stored_size(path, 'tifffile').pixels > 5000 * 20 * 30 // 8 - 1


@pytest.mark.parametrize('content', [b'', b'text', b'II*\0', b'GIF89a', b'RIFF1234WEBPVP8X'])
def test_no_header(content, tmp_path):
    assert stored_size(huge_images.write(tmp_path / 'x.png', content)) is None
    assert stored_size(tmp_path / 'missing.png') is None


@pytest.mark.parametrize(
    'path, kind',
    [('images/train/1.jpg', 'image file'), ('labels/train/1.png', 'label file')],
)
def test_training_data(path, kind, tiny_config, tiny_data, monkeypatch):
    cfg = tiny_config().train_dataloader.dataset
    (tiny_data / path).write_bytes(CLAIMS[path[-3:]])
    monkeypatch.setattr(mmcv, 'imfrombytes', lambda *_, **__: pytest.fail('decoded'))
    dataset = build_checked_dataset(cfg)
    with pytest.raises(UserError) as refused:
        dataset.pipeline(dataset.get_data_info(1))
    message = str(refused.value)
    assert message.startswith(f'{kind} {tiny_data / path} has ')
    assert 'metainfo.max_pixels of the data set' in message


def test_a_larger_limit_also_holds_for_labels(tiny_config, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    monkeypatch.setattr('mmseg_encnet.datasets.checked.MAX_PIXELS', 1000)
    cfg = tiny_config().train_dataloader.dataset
    dataset = build_checked_dataset(cfg)
    with pytest.raises(UserError, match='exceeds the limit of 1,000 pixels'):
        dataset[0]
    cfg.metainfo = dict(max_pixels=10_000)
    with warnings.catch_warnings():
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        assert 'inputs' in build_checked_dataset(cfg)[0]
