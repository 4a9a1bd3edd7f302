"""Pipes, sockets and devices among images and labels are refused by name, and nothing blocks."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from PIL import Image

from mmseg_encnet.datasets.checked import build_checked_dataset
from mmseg_encnet.datasets.loading import check_regular
from mmseg_encnet.errors import UserError
from mmseg_encnet.predicting.inputs import find_inputs
from mmseg_encnet.workbench.converters.own.conversion import convert_own
from mmseg_encnet.workbench.converters.photographs import read_photograph


def make(path: Path, kind: str) -> Path:
    path.unlink(missing_ok=True)
    if kind == 'FIFO':
        os.mkfifo(path)
    elif kind == 'socket':
        with socket.socket(socket.AF_UNIX) as listening:
            # A path of a socket is short.
            folder = os.open(path.parent, os.O_RDONLY)
            listening.bind(f'/proc/self/fd/{folder}/{path.name}')
            os.close(folder)
    else:
        path.symlink_to('/dev/zero')
    return path


KINDS = ['FIFO', 'socket', 'device']


@pytest.mark.parametrize('kind', KINDS)
def test_named_in_a_sentence(kind, tmp_path):
    path = make(tmp_path / 'a.jpg', kind)
    with pytest.raises(UserError) as refused:
        check_regular(path)
    assert str(refused.value).startswith(f'{path} is a ') and kind in str(refused.value)
    check_regular(tmp_path / 'missing.jpg')
    check_regular('s3://bucket/a.jpg')
    check_regular(tmp_path)


@pytest.mark.parametrize('kind', KINDS)
def test_among_the_images_of_a_data_set(kind, tiny_config, tiny_data):
    cfg = tiny_config().train_dataloader.dataset
    path = make(tiny_data / 'images' / 'train' / '2.jpg', kind)
    with pytest.raises(UserError, match=f'{path} is a '):
        build_checked_dataset(cfg)


@pytest.mark.parametrize('kind', KINDS)
def test_among_its_labels(kind, tiny_config, tiny_data):
    path = make(tiny_data / 'labels' / 'train' / '2.png', kind)
    dataset = build_checked_dataset(tiny_config().train_dataloader.dataset)
    with pytest.raises(UserError, match=f'{path} is a '):
        for index in range(len(dataset)):
            dataset[index]


@pytest.mark.parametrize('kind', KINDS)
def test_among_images_to_predict(kind, tmp_path):
    (tmp_path / 'in').mkdir()
    Image.new('RGB', (8, 8)).save(tmp_path / 'in' / 'a.png')
    path = make(tmp_path / 'in' / 'b.png', kind)
    for entry in (path, path.parent, f'{path.parent}/*.png'):
        with pytest.raises(UserError, match=f'{path} is a '):
            find_inputs([entry], tmp_path / 'out')


@pytest.mark.parametrize('kind', KINDS)
def test_among_the_files_of_a_converter(kind, tmp_path):
    path = make(tmp_path / 'a.jpg', kind)
    with pytest.raises(UserError, match=f'{path} is a '):
        read_photograph(path)


@pytest.mark.parametrize('name', ['images/b.jpg', 'labels/a.png', 'labels/a.json', 'classes.txt'])
def test_among_own_data(name, tmp_path):
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
        Image.new('L', (8, 8)).save(tmp_path / folder / 'a.png')
    path = make(tmp_path / name, 'FIFO')
    with pytest.raises(UserError, match=f'{path} is a named pipe'):
        convert_own(tmp_path, tmp_path / 'out')
