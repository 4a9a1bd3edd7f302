"""ImageNet weights of PyTorch-Encoding, downloaded from a local server."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import socket
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmseg.registry import MODELS
from pickled_code import Payload
from tiny_setup import ROOT

from mmseg_encnet.checkpoints import load_imagenet_backbone, pytorch_encoding
from mmseg_encnet.checkpoints.downloads import DownloadError
from mmseg_encnet.errors import UserError

NAME = 'resnet50s'
BLOCKS = (3, 4, 6, 3)
NORM = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')


def published_keys() -> list[str]:
    """Return the state-dict keys of its ResNet-50 with deep stem, from the definition."""
    keys = [f'conv1.{index}.weight' for index in (0, 3, 6)]
    norms = ['conv1.1', 'conv1.4', 'bn1']
    for stage, blocks in enumerate(BLOCKS, start=1):
        for block in range(blocks):
            prefix = f'layer{stage}.{block}'
            keys += [f'{prefix}.conv{index}.weight' for index in (1, 2, 3)]
            norms += [f'{prefix}.bn{index}' for index in (1, 2, 3)]
            if block == 0:
                keys.append(f'{prefix}.downsample.0.weight')
                norms.append(f'{prefix}.downsample.1')
    return [*keys, *(f'{norm}.{entry}' for norm in norms for entry in NORM), 'fc.weight', 'fc.bias']


def our_key(key: str) -> str:
    """Return our name of an entry, by the order of the layers in the stem."""
    stem = {
        'conv1.0': 'stem.0',
        'conv1.1': 'stem.1',
        'conv1.3': 'stem.3',
        'conv1.4': 'stem.4',
        'conv1.6': 'stem.6',
        'bn1': 'stem.7',
    }
    layer, _, entry = key.rpartition('.')
    return f'{stem.get(layer, layer)}.{entry}'


@pytest.fixture(scope='module')
def source() -> dict[str, torch.Tensor]:
    """Return weights of this layout, with a sixteenth of the channels."""
    backbone = MODELS.build(
        dict(type='mmseg.ResNetV1s', depth=50, base_channels=4, stem_channels=8)
    )
    state = backbone.state_dict()
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.rand(state[our_key(key)].shape, generator=generator).to(
            state[our_key(key)].dtype
        )
        if not key.startswith('fc.')
        else torch.zeros(3)
        for key in published_keys()
    }


def pth(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as content:
        for name, data in members.items():
            content.writestr(name.replace('__', '.'), data)
    return buffer.getvalue()


class Server:
    """The files that a server offers, and the requests that it has received."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []


@pytest.fixture
def server(tmp_path, monkeypatch):
    offered = Server(tmp_path / 'served')
    offered.folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, directory=str(offered.folder), **kwargs)

        def do_GET(self) -> None:
            offered.requests.append(self.path)
            super().do_GET()

        def log_message(self, *_) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    port = listener.server_address[1]
    monkeypatch.setattr(pytorch_encoding, 'BASE_URLS', (f'http://127.0.0.1:{port}/',))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    yield offered
    listener.shutdown()
    listener.server_close()


def publish(monkeypatch, weights: bytes) -> str:
    """Make the SHA-1 of these weights the published one, and return the stem of their files."""
    digest = hashlib.sha1(weights).hexdigest()
    monkeypatch.setitem(pytorch_encoding.IMAGENET_SHA1, NAME, digest)
    return f'{NAME}-{digest[:8]}'


def files() -> set[str]:
    folder = pytorch_encoding.cache_dir()
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_fetched_checked_converted_and_kept(server, source, monkeypatch):
    weights = pth(source)
    stem = publish(monkeypatch, weights)
    (server.folder / f'{stem}.zip').write_bytes(archive(**{f'{stem}__pth': weights}))
    content = CheckpointLoader.load_checkpoint(f'{pytorch_encoding.SCHEME}{NAME}')
    assert server.requests == [f'/{stem}.zip']
    assert files() == {f'{stem}.pth'}

    backbone = MODELS.build(dict(type='ResNetV1s', depth=50, base_channels=4, stem_channels=8))
    backbone.load_state_dict(content['state_dict'], strict=True)
    state = backbone.state_dict()
    for key, value in source.items():
        if not key.startswith('fc.'):
            assert torch.equal(state[our_key(key)], value), key

    again = load_imagenet_backbone(NAME)
    assert len(server.requests) == 1
    assert again.keys() == content['state_dict'].keys()


def test_a_config_starts_from_them(server, source, monkeypatch):
    weights = pth(source)
    stem = publish(monkeypatch, weights)
    (server.folder / f'{stem}.zip').write_bytes(archive(**{f'{stem}__pth': weights}))
    backbone = MODELS.build(
        dict(
            type='ResNetV1s',
            depth=50,
            base_channels=4,
            stem_channels=8,
            init_cfg=dict(type='Pretrained', checkpoint=f'{pytorch_encoding.SCHEME}{NAME}'),
        )
    )
    backbone.init_weights()
    assert torch.equal(
        backbone.state_dict()['layer4.2.conv3.weight'], source['layer4.2.conv3.weight']
    )


@pytest.mark.parametrize('suffix', ['zip', 'pth'])
def test_a_file_placed_by_hand_is_taken(suffix, server, source, monkeypatch):
    weights = pth(source)
    stem = publish(monkeypatch, weights)
    folder = pytorch_encoding.cache_dir()
    folder.mkdir(parents=True)
    content = weights if suffix == 'pth' else archive(**{f'a/{stem}__pth': weights, 'readme': b''})
    (folder / f'{stem}.{suffix}').write_bytes(content)
    assert 'stem.0.weight' in load_imagenet_backbone(NAME)
    assert server.requests == []
    assert files() == {f'{stem}.pth'}


def test_another_folder(server, source, monkeypatch, tmp_path):
    weights = pth(source)
    stem = publish(monkeypatch, weights)
    (server.folder / f'{stem}.zip').write_bytes(archive(**{f'{stem}__pth': weights}))
    load_imagenet_backbone(NAME, root=tmp_path / 'mine')
    assert [path.name for path in (tmp_path / 'mine').iterdir()] == [f'{stem}.pth']
    assert files() == set()


GOOD, OTHER = pth({'conv1.0.weight': torch.zeros(1)}), pth({'conv1.0.weight': torch.ones(1)})
BAD_ARCHIVES = {
    'other weights': (archive(a__pth=OTHER), 'has SHA-1 '),
    'no weights': (archive(a__txt=b''), 'contains 0 .pth files, expected exactly one'),
    'two weights': (
        archive(a__pth=GOOD, b__pth=GOOD),
        'contains 2 .pth files, expected exactly one',
    ),
    'no archive': (b'<html>moved</html>', 'is not an intact zip file'),
    # What is left ends with the archive inside, which PyTorch wrote.
    'cut off': (archive(a__pth=GOOD)[:-40], 'contains 0 .pth files, expected exactly one'),
    'damaged': (
        archive(a__pth=GOOD).replace(GOOD[100:110], b'0' * 10),
        'is not an intact zip file',
    ),
}


@pytest.mark.parametrize('name', BAD_ARCHIVES)
def test_a_file_placed_by_hand_that_is_not_the_published_one_is_refused(name, server, monkeypatch):
    content, reason = BAD_ARCHIVES[name]
    stem = publish(monkeypatch, GOOD)
    folder = pytorch_encoding.cache_dir()
    folder.mkdir(parents=True)
    (folder / f'{stem}.zip').write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_imagenet_backbone(NAME)
    assert f'{stem}.zip {reason}' in str(caught.value)
    assert str(caught.value).endswith('; delete the file and try again.')
    assert f'{stem}.pth' not in files()


@pytest.mark.parametrize('name', [*BAD_ARCHIVES, 'missing', 'silent'])
def test_the_next_address_is_tried(name, server, monkeypatch):
    monkeypatch.setattr('pooch.downloaders.DEFAULT_TIMEOUT', 0.5)
    content, reason = BAD_ARCHIVES.get(name, (None, 'HTTP status 404'))
    stem = publish(monkeypatch, GOOD)
    (good,) = pytorch_encoding.BASE_URLS
    bad = f'{good}bad/'
    (server.folder / 'bad').mkdir()
    if content is not None:
        (server.folder / 'bad' / f'{stem}.zip').write_bytes(content)
    with socket.create_server(('127.0.0.1', 0)) as silent:
        if name == 'silent':
            bad, reason = f'http://127.0.0.1:{silent.getsockname()[1]}/', 'ReadTimeout'
        monkeypatch.setattr(pytorch_encoding, 'BASE_URLS', (bad, good))
        with pytest.raises(DownloadError) as caught:
            load_imagenet_backbone(NAME)
        # One sentence lists each address with its error.
        message = str(caught.value)
        assert f'({bad}{stem}.zip: ' in message and reason in message.partition('; ')[0], message
        assert f'; {good}{stem}.zip: HTTP status 404); get it elsewhere and put it at ' in message
        assert files() == set()

        (server.folder / f'{stem}.zip').write_bytes(archive(**{f'{stem}__pth': GOOD}))
        load_imagenet_backbone(NAME)
    assert files() == {f'{stem}.pth'}


@pytest.mark.parametrize(
    'content, words', [(OTHER, ['SHA-1', 'delete']), (GOOD[:50], ['SHA-1', 'delete'])]
)
def test_weights_placed_by_hand_are_checked(content, words, server, monkeypatch):
    stem = publish(monkeypatch, GOOD)
    folder = pytorch_encoding.cache_dir()
    folder.mkdir(parents=True)
    (folder / f'{stem}.pth').write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_imagenet_backbone(NAME)
    assert all(word in str(caught.value) for word in [stem, *words])


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'resnet18s'; choose one of resnet50s, resnet101s"):
        load_imagenet_backbone('resnet18s')


@pytest.mark.parametrize('function', ['fsync', 'replace'])
def test_a_kill_halfway_leaves_nothing_half_written(function, server, source, monkeypatch):
    weights = pth(source)
    stem = publish(monkeypatch, weights)
    folder = pytorch_encoding.cache_dir()
    folder.mkdir(parents=True)
    (folder / f'{stem}.zip').write_bytes(archive(**{f'{stem}__pth': weights}))

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if function == 'fsync':
            patch.setattr(os, 'fsync', kill)
        else:
            patch.setattr(Path, 'replace', kill)
        with pytest.raises(KeyboardInterrupt):
            load_imagenet_backbone(NAME)
    assert files() == {f'{stem}.zip'}
    assert 'stem.0.weight' in load_imagenet_backbone(NAME)
    assert files() == {f'{stem}.pth'}


def test_processes_that_fetch_at_once_do_not_disturb_each_other(server, source, monkeypatch):
    weights = pth(source)
    stem = publish(monkeypatch, weights)
    (server.folder / f'{stem}.zip').write_bytes(archive(**{f'{stem}__pth': weights}))
    read_member = pytorch_encoding._read_member

    def read_while_another_finishes(path: Path) -> bytes:
        data = read_member(path)
        if path.suffix != '.zip':
            # The download, which no other process knows.
            return data
        (path.parent / f'{stem}.pth').write_bytes(weights)
        path.unlink()
        return data

    monkeypatch.setattr(pytorch_encoding, '_read_member', read_while_another_finishes)
    assert 'stem.0.weight' in load_imagenet_backbone(NAME)
    assert files() == {f'{stem}.pth'}


def test_code_in_the_published_file_does_not_run(server, monkeypatch, tmp_path):
    weights = pth({'conv1.0.weight': Payload(tmp_path / 'ran')})
    stem = publish(monkeypatch, weights)
    (server.folder / f'{stem}.zip').write_bytes(archive(**{f'{stem}__pth': weights}))
    with pytest.raises(UserError, match='could run code'):
        load_imagenet_backbone(NAME)
    assert not (tmp_path / 'ran').exists()


def test_the_page_lists_the_checksums():
    page = (ROOT / 'docs' / 'tutorials' / 'weights.md').read_text()
    published = {**pytorch_encoding.IMAGENET_SHA1, **pytorch_encoding.ENCNET_SHA1}
    for name, sha1 in published.items():
        assert f'| `{name}-{sha1[:8]}` | `{sha1}` |' in page
