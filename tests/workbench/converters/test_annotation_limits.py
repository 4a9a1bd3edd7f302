"""Annotation files that are too large, or claim too much."""

from __future__ import annotations

import json
import re

import pytest

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench import formatting
from mmseg_encnet.workbench.converters import coco_format


@pytest.fixture
def write(tmp_path):
    def write(content) -> str:
        path = tmp_path / 'file.json'
        path.write_text(json.dumps(content))
        return path

    return write


def read(path):
    return coco_format.read_annotations(path, lambda content: content, 'COCO', 'fetch it again.')


def test_a_file_that_is_too_large_is_not_parsed(write, monkeypatch):
    path = write(dict(images=[0] * 1000))
    monkeypatch.setattr(coco_format, 'MAX_BYTES', 2048)
    monkeypatch.setattr(json, 'load', lambda file: pytest.fail('parsed'))
    message = f'{path} has 2.94 KiB, which exceeds the limit of 2 KiB; fetch it again.'
    with pytest.raises(UserError, match=f'^{re.escape(message)}$'):
        read(path)


@pytest.mark.parametrize('key', ['images', 'annotations', 'annos_segmentation'])
def test_too_many_entries(key, write, monkeypatch):
    monkeypatch.setitem(coco_format._LIMITS, key, 3)
    assert read(write({key: [0] * 3}))
    with pytest.raises(UserError, match=f'file.json lists 4 {key}, expected at most 3; fetch'):
        read(write({key: [0] * 4}))


@pytest.mark.parametrize('height, width', [(99_999, 99_999), (10, 99_999_999), (9460, 9460)])
def test_sizes_of_images(height, width):
    with pytest.raises(UserError, match=r'a\.jpg'):
        coco_format.read_image(dict(file_name='a.jpg', height=height, width=width))


def test_a_log_that_is_too_large(tmp_path, monkeypatch):
    path = tmp_path / 'scalars.json'
    path.write_text('{"loss": 1}\n' * 100)
    assert len(formatting.read_json_lines(path)) == 100
    monkeypatch.setattr(formatting, 'MAX_LOG', 1000)
    with pytest.raises(UserError, match=r'scalars\.json has 1\.17 KiB, which exceeds the limit'):
        formatting.read_json_lines(path)
