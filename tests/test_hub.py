"""A model from two names: its switches, its weights, and what it says where there are none."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.apis import inference_model
from torch import Tensor

from mmseg_encnet import get_encnet
from mmseg_encnet.checkpoints import pytorch_encoding
from mmseg_encnet.checkpoints.architecture import Architecture
from mmseg_encnet.checkpoints.layouts import original_key
from mmseg_encnet.errors import UserError

NAME = 'encnet_resnet50s_pcontext'


@pytest.mark.parametrize(
    'dataset, backbone, depth, classes, lateral, crop',
    [
        ('pcontext', 'resnet50s', 50, 59, True, 480),
        ('pascal_voc', 'resnet101s', 101, 21, True, 480),
        ('pascal_aug', 'resnet50s', 50, 21, True, 480),
        ('ADE20K', 'resnet101s', 101, 150, False, 576),
        ('ade20k', 'resnet152s', 152, 150, False, 480),
        ('citys', 'resnet50s', 50, 19, False, 768),
        ('coco', 'resnet101s', 101, 21, False, 480),
        ('pcontext60', 'r50', 50, 60, True, 480),
    ],
)
def test_two_names(dataset, backbone, depth, classes, lateral, crop):
    with torch.device('meta'):
        model = get_encnet(dataset, backbone)
    assert model.backbone.depth == depth
    assert model.backbone.init_cfg.checkpoint == f'pytorch-encoding://resnet{depth}s'
    head = model.decode_head
    assert (head.num_classes, head.add_lateral, head.use_se_loss) == (classes, lateral, True)
    assert model.auxiliary_head.num_classes == len(model.dataset_meta['classes']) == classes
    assert model.test_cfg.crop_size == (crop, crop)
    assert model.test_cfg.stride == (int(crop * 2 / 3),) * 2


def test_switches_and_overrides():
    with torch.device('meta'):
        model = get_encnet(
            'pcontext',
            'resnet50s',
            aux=False,
            se_loss=False,
            lateral=False,
            decode_head=dict(num_codes=16),
            **{'backbone.with_cp': True},
        )
    head = model.decode_head
    assert (head.num_codes, head.add_lateral, head.use_se_loss) == (16, False, False)
    assert not model.with_auxiliary_head
    assert model.backbone.with_cp


@pytest.mark.parametrize(
    'arguments, options, words',
    [
        (('mars', 'resnet50s'), {}, ["data set 'mars'", 'pcontext', 'ade20k']),
        (
            ('pcontext', 'resnet50'),
            {},
            ["backbone 'resnet50'", 'resnet50s, resnet101s, resnet152s'],
        ),
        (('pcontext', 'resnet50s'), dict(latral=True), ['latral=True', 'decode_head']),
        (
            ('pcontext', 'resnet152s'),
            dict(pretrained=True),
            ['no EncNet weights', "get_encnet('pcontext', 'resnet101s'", 'pretrained=PATH'],
        ),
        (('citys', 'resnet50s'), dict(pretrained=True), ['encnet_r50v1c_cityscapes']),
        (('coco', 'resnet50s'), dict(pretrained=True), ["get_encnet('pcontext', 'resnet50s'"]),
        (('pcontext', 'resnet50s'), dict(pretrained='none.pth'), ['none.pth does not exist']),
    ],
)
def test_what_does_not_exist_is_told(arguments, options, words):
    with pytest.raises(UserError) as caught:
        get_encnet(*arguments, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def published(**switches) -> dict[str, Tensor]:
    """Weights as the original has them: a number for every entry, without memory for it."""
    shapes = Architecture(depth=50, **{**dict(num_classes=59, lateral=True), **switches}).shapes()
    return {
        original_key(key): torch.tensor(index)
        if not shape
        else torch.tensor(index / 1e5).expand(shape)
        for index, (key, shape) in enumerate(shapes.items(), start=1)
    }


def pth(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve one published EncNet; yields the folder of the server and the list of requests."""
    folder, requests = tmp_path / 'served', []
    folder.mkdir()
    weights = pth(published())
    digest = hashlib.sha1(weights).hexdigest()
    with zipfile.ZipFile(folder / f'{NAME}-{digest[:8]}.zip', 'w') as content:
        # A path that leads out of the folder has no effect: members are never unpacked by name.
        content.writestr(f'../../{NAME}.pth', weights)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)

        def do_GET(self) -> None:
            requests.append(self.path)
            super().do_GET()

        def log_message(self, *_) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(
        pytorch_encoding, 'BASE_URL', f'http://127.0.0.1:{listener.server_address[1]}/'
    )
    monkeypatch.setitem(pytorch_encoding.ENCNET_SHA1, NAME, digest)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    yield folder, requests
    listener.shutdown()
    listener.server_close()


def test_published_weights_are_fetched_once_converted_and_kept(server, tmp_path):
    folder, requests = server
    root = tmp_path / 'root'
    model = get_encnet('pcontext', 'resnet50s', pretrained=True, root=root)
    stem = next(folder.iterdir()).stem
    assert requests == [f'/{stem}.zip']
    assert {path.name for path in root.iterdir()} == {f'{stem}.pth', f'{stem}_converted.pth'}
    assert {path.name for path in tmp_path.iterdir()} == {'served', 'root'}
    state_dict = model.state_dict()
    for key, value in published().items():
        ours = next(name for name in state_dict if original_key(name) == key)
        assert torch.equal(state_dict[ours], value), key
    assert not model.training
    # What a runner does with a model that it is given.
    model.init_weights()
    assert torch.equal(
        model.state_dict()['decode_head.conv_seg.bias'], state_dict['decode_head.conv_seg.bias']
    )
    converted = torch.load(root / f'{stem}_converted.pth', weights_only=True)
    assert len(converted['meta']['dataset_meta']['classes']) == 59

    bare = get_encnet('pcontext', 'resnet50s', pretrained=True, root=root, aux=False, se_loss=False)
    assert len(requests) == 1
    assert not bare.with_auxiliary_head
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    model.test_cfg.mode = 'whole'
    assert inference_model(model, image).pred_sem_seg.data.shape == (1, 40, 60)


def test_damaged_and_missing_downloads(server, tmp_path):
    folder, _ = server
    archive = next(folder.iterdir())
    with zipfile.ZipFile(archive, 'w') as content:
        content.writestr('other.pth', pth({}))
    with pytest.raises(UserError, match='SHA-1'):
        get_encnet('pcontext', 'resnet50s', pretrained=True, root=tmp_path / 'root')
    archive.rename(folder / 'elsewhere.zip')
    place = tmp_path / 'empty'
    with pytest.raises(UserError) as caught:
        get_encnet('pcontext', 'resnet50s', pretrained=True, root=place)
    sentence = str(caught.value)
    assert f'download {pytorch_encoding.BASE_URL}{archive.name}' in sentence
    assert f'put it at {place / archive.name}' in sentence


@pytest.fixture(scope='module')
def local(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('weights') / 'local.pth'
    torch.save(published(num_classes=21, lateral=False, aux=False), path)
    return path


def test_a_local_file_says_what_it_is(local):
    model = get_encnet('voc12', 'resnet50s', pretrained=local, aux=False)
    assert not model.decode_head.add_lateral
    with torch.no_grad():
        assert model.decode_head.conv_seg.bias.std() == 0


@pytest.mark.parametrize(
    'dataset, options, words',
    [
        ('pcontext', dict(aux=False), ['21 classes', 'pcontext has 59']),
        ('voc12', {}, ['it lacks auxiliary_head', 'aux']),
        ('voc12', dict(aux=False, lateral=True), ['it lacks decode_head.lateral_convs']),
        ('voc12', dict(aux=False, decode_head=dict(num_codes=8)), ['instead of (8,']),
    ],
)
def test_a_local_file_of_another_network_is_refused(dataset, options, words, local):
    with pytest.raises(UserError) as caught:
        get_encnet(dataset, 'resnet50s', pretrained=local, **options)
    assert all(word in str(caught.value) for word in [str(local), *words]), str(caught.value)
