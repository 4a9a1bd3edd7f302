"""A model from two names: its switches and weights, and calls refused before any download."""

from __future__ import annotations

import hashlib
import http.server
import inspect
import io
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmseg.apis import inference_model
from torch import Tensor, nn

from mmseg_encnet import (
    EncNet,
    get_encnet,
    get_encnet_resnet50_ade,
    get_encnet_resnet50_pcontext,
    get_encnet_resnet101_ade,
    get_encnet_resnet101_pcontext,
)
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
    weights = f'pytorch-encoding://~/.encoding/models/resnet{depth}s'
    assert model.backbone.init_cfg.checkpoint == weights
    head = model.decode_head
    assert (head.num_classes, head.add_lateral, head.use_se_loss) == (classes, lateral, True)
    assert model.auxiliary_head.num_classes == len(model.dataset_meta['classes']) == classes
    assert model.test_cfg.crop_size == (crop, crop)
    assert model.test_cfg.stride == (int(crop * 2 / 3),) * 2


@pytest.mark.parametrize(
    'build, depth, classes, lateral, sizes',
    [
        (get_encnet, 50, 21, True, (520, 480)),
        (get_encnet_resnet50_pcontext, 50, 59, True, (520, 480)),
        (get_encnet_resnet101_pcontext, 101, 59, True, (520, 480)),
        (get_encnet_resnet50_ade, 50, 150, False, (520, 480)),
        (get_encnet_resnet101_ade, 101, 150, False, (640, 576)),
    ],
)
def test_shorthands_and_defaults(build, depth, classes, lateral, sizes):
    with torch.device('meta'):
        model = build()
    assert isinstance(model, EncNet)
    assert model.training
    assert (model.backbone.depth, model.nclass) == (depth, classes)
    assert (model.aux, model.se_loss, model.head.add_lateral) == (True, True, lateral)
    assert (model.base_size, model.crop_size) == sizes
    assert isinstance(model.pretrained.layer4[0].bn1, nn.SyncBatchNorm)
    signature = inspect.signature(build).parameters
    assert signature['pretrained'].default is False
    assert signature['root'].default == '~/.encoding/models'


@pytest.mark.parametrize(
    'dataset, backbone, channels, sizes',
    [
        ('msrc21', 'lite0', 320, (480, 384)),
        ('clothing', 'lite2', 352, (480, 384)),
        ('camvid', 'lite1', 320, (416, 384)),
        ('ade20k', 'lite1', 320, (520, 480)),
    ],
)
def test_networks_on_efficientnet_lite(dataset, backbone, channels, sizes):
    with torch.device('meta'):
        model = get_encnet(dataset, backbone)
    assert model.backbone.init_cfg.checkpoint == f'package://efficientnet-{backbone}'
    assert model.head.in_channels[-1] == model.backbone.stage_channels[-1] == channels
    assert (model.base_size, model.crop_size) == sizes
    assert model.mean == pytest.approx([127 / 255] * 3)
    assert model.cfg.model.data_preprocessor.std == [128] * 3
    with torch.device('meta'):
        strided = get_encnet(dataset, backbone, dilated=False)
    assert strided.cfg.model.backbone.output_stride == 32


def test_sizes_reach_the_pipelines():
    with torch.device('meta'):
        model = get_encnet('ade20k', 'resnet101s', base_size=320, crop_size=288)
    assert (model.base_size, model.crop_size) == (320, 288)
    assert model.test_cfg.stride == (192, 192)
    cfg = model.cfg
    for pipeline in (cfg.test_pipeline, cfg.val_dataloader.dataset.pipeline):
        assert [step.scale for step in pipeline if step.type == 'Resize'] == [(320, 320)]
    for pipeline in (cfg.train_pipeline, cfg.train_dataloader.dataset.pipeline):
        steps = {step.type: step for step in pipeline}
        assert steps['RandomShortSideResize'].base_size == 320
        assert steps['Pad'].size == steps['RandomCrop'].crop_size == (288, 288)
    (augment,) = (step for step in cfg.tta_pipeline if step.type == 'TestTimeAug')
    scales = [step.scale for steps in augment.transforms for step in steps if 'scale' in step]
    assert scales == [(side, side) for side in (160, 240, 320, 400, 480, 560)]
    assert model.cfg.published_tta_model.base_size == 320
    assert model.cfg.model.data_preprocessor['size'] == (288, 288)


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


def published(**switches) -> dict[str, Tensor]:
    """Return weights in the original layout: one number per entry, expanded without memory."""
    network = Architecture(**{**dict(depth=50, num_classes=59, lateral=True), **switches})
    shapes = network.shapes()
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
    """Serve one published EncNet; yield the folder of the server and the list of requests."""
    folder, requests = tmp_path / 'served', []
    folder.mkdir()
    weights = pth(published())
    digest = hashlib.sha1(weights).hexdigest()
    with zipfile.ZipFile(folder / f'{NAME}-{digest[:8]}.zip', 'w') as content:
        # A path outside the folder has no effect: members are never unpacked by name.
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
        pytorch_encoding, 'BASE_URLS', (f'http://127.0.0.1:{listener.server_address[1]}/',)
    )
    monkeypatch.setitem(pytorch_encoding.ENCNET_SHA1, NAME, digest)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    yield folder, requests
    listener.shutdown()
    listener.server_close()


@pytest.mark.parametrize(
    'arguments, options, words',
    [
        (('mars', 'resnet50s'), {}, ["unknown data set 'mars'", 'pcontext', 'ade20k']),
        ((None, 'resnet50s'), {}, ['unknown data set None']),
        (('pcontext', 'resnet18'), {}, ["unknown backbone 'resnet18'", 'resnet50s, resnet101s']),
        (('pcontext', 'resnet50s'), dict(latral=True), ['latral=True', 'did you mean lateral?']),
        (('pcontext', 'resnet50s'), dict(norm_layer=nn.GroupNorm), ['norm_layer=']),
        (('pcontext', 'resnet50s'), dict(crop_size=-480), ['crop_size=-480']),
        (('pcontext', 'resnet50s'), dict(base_size='520'), ["base_size='520'"]),
        (('pcontext', 'resnet50s'), dict(up_kwargs={}), ['up_kwargs={}']),
        (('pcontext', 'resnet50s'), dict(aux=None), ['aux=None']),
        (('pcontext', 'resnet50s'), dict(std=(58.4, 57.1, 57.4)), ['std=(58.4']),
        (('pcontext', 'resnet50s'), dict(root=__file__), ['root=', 'a file']),
        (('pcontext', 'resnet50s'), dict(root=None), ['root=None']),
        (('pcontext', 'resnet50s'), dict(lateral=False), [NAME, 'lateral_convs', 'lateral as']),
        (('pcontext', 'resnet50s'), dict(decode_head=dict(num_codes=8)), [NAME, 'instead of (8,']),
        (('pcontext', 'resnet50s'), dict(decode_head=dict(num_cods=8)), ['num_cods']),
        (('pcontext', 'resnet50s'), dict(pretrained=None), ['pretrained=None', 'path']),
        (('pcontext', 'resnet50s'), dict(pretrained='~/none.pth'), ['/none.pth does not exist']),
        (
            ('pcontext', 'resnet50'),
            {},
            ['no EncNet weights', "get_encnet('pcontext', 'resnet50s', pretrained=True)"],
        ),
        (
            ('ade20k', 'resnet152s'),
            {},
            ['no EncNet weights', "get_encnet('ade20k', 'resnet101s'", 'pretrained=PATH'],
        ),
        (('citys', 'resnet50s'), {}, ['encnet_r50v1c_cityscapes']),
        (('coco', 'resnet50s'), {}, ["get_encnet('pcontext', 'resnet50s'"]),
    ],
    ids=str,
)
def test_a_wrong_call_is_refused_before_anything_is_fetched(
    arguments, options, words, server, tmp_path
):
    _, requests = server
    root = tmp_path / 'root'
    with pytest.raises(UserError) as caught:
        get_encnet(*arguments, **dict(dict(pretrained=True, root=root), **options))
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert '\n' not in message
    assert not requests
    assert not root.exists()


def test_published_weights_are_fetched_once_converted_and_kept(server, tmp_path, monkeypatch):
    folder, requests = server
    monkeypatch.setenv('HOME', str(tmp_path))
    root = tmp_path / 'root'
    model = get_encnet(
        'pcontext',
        'resnet50s',
        pretrained=True,
        root='~/root',
        aux=True,
        base_size=520,
        crop_size=480,
    )
    stem = next(folder.iterdir()).stem
    assert requests == [f'/{stem}.zip']
    assert {path.name for path in root.iterdir()} == {f'{stem}.pth', f'{stem}_converted.pth'}
    assert {path.name for path in tmp_path.iterdir()} == {'served', 'root'}
    state_dict = model.state_dict()
    for key, value in published().items():
        ours = next(name for name in state_dict if original_key(name) == key)
        assert torch.equal(state_dict[ours], value), key
    assert not model.training
    # As a runner does with a given model.
    model.init_weights()
    assert torch.equal(
        model.state_dict()['decode_head.conv_seg.bias'], state_dict['decode_head.conv_seg.bias']
    )
    converted = torch.load(root / f'{stem}_converted.pth', weights_only=True)
    assert len(converted['meta']['dataset_meta']['classes']) == 59

    bare = get_encnet_resnet50_pcontext(pretrained=True, root=root, aux=False, se_loss=False)
    assert len(requests) == 1
    assert not bare.aux
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    bare.test_cfg.mode = 'whole'
    assert inference_model(bare, image).pred_sem_seg.data.shape == (1, 40, 60)


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
    assert f'({pytorch_encoding.BASE_URLS[0]}{archive.name}: ' in sentence
    assert f'put it at {place / archive.name}' in sentence


@pytest.fixture(scope='module')
def local(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('weights') / 'local.pth'
    torch.save(published(num_classes=21, lateral=False, aux=False), path)
    return path


def test_a_local_file_determines_the_lateral_connections(local, monkeypatch):
    monkeypatch.setenv('HOME', str(local.parent))
    model = get_encnet('voc12', 'resnet50s', pretrained='~/local.pth', aux=False)
    assert not model.decode_head.add_lateral
    with torch.no_grad():
        assert model.decode_head.conv_seg.bias.std() == 0


def test_a_checkpoint_of_the_originals_training_with_its_default_backbone(tmp_path):
    path = tmp_path / 'model_best.pth.tar'
    weights = published(num_classes=21, lateral=True, backbone='ResNet')
    assert {'pretrained.conv1.weight', 'pretrained.bn1.weight'} <= weights.keys()
    torch.save(dict(epoch=50, state_dict=weights, optimizer={}, best_pred=0.9), path)
    model = get_encnet('pascal_voc', 'resnet50', pretrained=path)
    assert model.backbone.conv1.weight.shape == (64, 3, 7, 7)
    assert (model.backbone.conv1.weight == weights['pretrained.conv1.weight']).all()
    with pytest.raises(UserError, match=r'stem\.0\.weight.*choose backbone'):
        get_encnet('pascal_voc', 'resnet50s', pretrained=path)


def test_imagenet_weights_come_from_the_same_folder(tmp_path, monkeypatch):
    weights = {f'conv1.{index}.weight': torch.full((1,), index) for index in (0, 3, 6)}
    monkeypatch.setitem(
        pytorch_encoding.IMAGENET_SHA1, 'resnet50s', hashlib.sha1(pth(weights)).hexdigest()
    )
    digest = pytorch_encoding.IMAGENET_SHA1['resnet50s']
    (tmp_path / f'resnet50s-{digest[:8]}.pth').write_bytes(pth(weights))
    monkeypatch.setenv('HOME', str(tmp_path.parent))
    with torch.device('meta'):
        model = get_encnet(root=f'~/{tmp_path.name}')
    loaded = CheckpointLoader.load_checkpoint(model.backbone.init_cfg.checkpoint)
    assert loaded['state_dict']['stem.6.weight'] == 6


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
