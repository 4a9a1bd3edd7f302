"""Every shipped config trains and predicts without mixing devices or waiting for the device.

On the ``meta`` device, which has no data, reading a value raises, and so does an operation over
tensors of different devices. On a GPU, CUDA's own check raises where the host waits.
"""

from __future__ import annotations

import copy
import functools
import warnings
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_encnet.models import PublishedTTAModel
from mmseg_encnet.models.encoders import ENCODERS

ACCURACY = 'mmseg.models.decode_heads.decode_head.accuracy'
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# mmcv's operators have no implementation for the `meta` device.
NAMES = sorted(path.stem for path in CONFIGS.glob('*.py') if not path.stem.endswith('_mmcv-ops'))


# Heads of the toolbox, whose accuracy waits for the device.
TOOLBOX = [name for name in NAMES if not name.startswith('encnet_')]


@pytest.fixture(autouse=True)
def _accuracy_of_the_toolbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replace the accuracy that the heads of the toolbox log."""
    name = getattr(request.node, 'callspec', None) and request.node.callspec.params.get('name')
    if name in TOOLBOX:
        monkeypatch.setattr(ACCURACY, accuracy)


def accuracy(scores: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    return 100 * (scores.argmax(dim=1) == labels).sum() / (labels != ignore_index).sum()


def model_of(name: str) -> dict:
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    return dict(cfg.model, backbone=dict(cfg.model.backbone, init_cfg=None))


@functools.cache
def representatives() -> dict[str, str]:
    """Return for each config the first whose network has the same kinds of layers.

    It may differ in the number of classes, the size of the crop, the depth between 50, 101 and 152
    layers and, for networks of Transformers, the width.
    """
    first: dict[str, str] = {}
    models = {name: model_of(name) for name in NAMES}
    for name in sorted(NAMES, key=lambda name: models[name]['backbone'].get('depth', 0)):
        first.setdefault(kind_of(models[name]), name)
    return {name: first[kind_of(models[name])] for name in NAMES}


def kind_of(model: dict) -> str:
    kind = Config(dict(model=copy.deepcopy(model)))
    for part in ('decode_head', 'auxiliary_head'):
        kind.model[part].num_classes = 2
    kind.model.data_preprocessor = None
    kind.model.test_cfg = dict(mode=kind.model.test_cfg.mode)
    if kind.model.backbone.get('depth') in (101, 152):
        kind.model.backbone.depth = 50
    if kind.model.backbone.type == 'HFBackbone':
        kind.model.backbone.config = dict(model_type=kind.model.backbone.config.model_type)
        kind.model.decode_head.in_channels = kind.model.auxiliary_head.in_channels = None
    return repr(kind.model)


# Reading all configs takes seconds.
KINDS = sorted(set(representatives().values())) if torch.cuda.is_available() else []


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope('mmseg')


def build(name: str, device: str) -> nn.Module:
    model = copy.deepcopy(model_of(name))
    if model['backbone']['type'] == 'HFBackbone':
        pytest.importorskip('transformers')
    try:
        with torch.device(device):
            return MODELS.build(model).to(device)
    except RuntimeError:
        # Some backbones of the toolbox read values while they are built.
        return MODELS.build(model).to(device)


def batches(model: nn.Module, device: str) -> tuple[dict, dict]:
    """Return a batch for training, of crops, and one for prediction, of two windows if they slide.

    Both are as the data preprocessor returns them: copying a batch to a GPU waits for it.
    """
    height, width = model.test_cfg.get('crop_size', (256, 256))
    height += model.test_cfg.get('stride', (0, 0))[0]
    crops = batch(model.num_classes, model.data_preprocessor.size, device)
    images = batch(model.num_classes, (height, width), device)
    return (
        model.data_preprocessor(crops, training=True),
        model.data_preprocessor(images, training=False),
    )


def batch(num_classes: int, size: tuple[int, int], device: str) -> dict:
    samples = []
    for _ in range(2):
        sample = SegDataSample(
            metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, padding_size=[0] * 4)
        )
        sample.gt_sem_seg = PixelData(data=torch.randint(num_classes, (1, *size), device=device))
        samples.append(sample)
    images = torch.randint(256, (2, 3, *size), dtype=torch.uint8, device=device)
    return dict(inputs=list(images), data_samples=samples)


def train_and_predict(
    model: nn.Module, inputs: tuple[dict, dict], optimizer: torch.optim.Optimizer
) -> list[SegDataSample]:
    model.train()
    total, _ = model.parse_losses(model.loss(**inputs[0]))
    total.backward()
    optimizer.step()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)
    model.eval()
    with torch.no_grad():
        predictions = model.predict(**inputs[1])
    assert all('pred_sem_seg' in prediction for prediction in predictions)
    return predictions


@functools.cache
def run_on_meta(name: str) -> list[SegDataSample]:
    model = build(name, 'meta')
    return train_and_predict(
        model, batches(model, 'meta'), torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    )


@pytest.mark.parametrize('name', NAMES)
def test_trains_and_predicts_without_reading_a_value(name):
    predictions = run_on_meta(representatives()[name])
    assert [prediction.pred_sem_seg.data.device.type for prediction in predictions] == [
        'meta',
        'meta',
    ]


OPTIONS = {
    **{
        f'encoder {encoder.__name__}': {'decode_head.encoder': dict(type=encoder.__name__)}
        for encoder in ENCODERS
    },
    'sum': {'decode_head.reduction': 'sum', 'decode_head.gate': 'scale'},
    'context maps': {'test_cfg.context_maps': True},
    'presence threshold': {'test_cfg.presence_threshold': 0.1},
    'ignored class': {'decode_head.ignore_index': 0},
    'all images count': {
        'decode_head.loss_se_decode': dict(type='SemanticEncodingLoss', skip_unlabelled=False)
    },
}


@pytest.mark.parametrize('options', OPTIONS.values(), ids=list(OPTIONS))
def test_options_read_no_value(options):
    model = Config(dict(model=model_of('encnet_r18_narrow_msrc21')))
    model.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    if 'decode_head.encoder' in options:
        model.model.decode_head.num_codes = None
    with torch.device('meta'):
        network = MODELS.build(model.model).to('meta')
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    predictions = train_and_predict(network, batches(network, 'meta'), optimizer)
    assert [prediction.pred_sem_seg.data.device.type for prediction in predictions] == [
        'meta',
        'meta',
    ]


@torch.no_grad()
def test_the_published_evaluation_reads_no_value():
    model = build('encnet_r18_narrow_msrc21', 'meta')
    evaluated = PublishedTTAModel(model, base_size=128, scales=(0.5, 4.0)).eval()
    scores = evaluated.score(torch.rand(1, 3, 96, 128, device='meta'))
    assert scores.shape == (1, model.num_classes, 96, 128)


def test_a_read_value_and_mixed_devices_are_found():
    x = torch.zeros(2, 3, device='meta')
    with pytest.raises(RuntimeError, match='meta'):
        x.sum().item()
    with pytest.raises((RuntimeError, NotImplementedError)):
        x[x > 0]
    with pytest.raises(RuntimeError, match='device'):
        x + torch.zeros(2, 3)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('name', KINDS)
def test_trains_and_predicts_without_waiting_for_the_gpu(name):
    model = build(name, 'cuda')
    inputs = batches(model, 'cuda')
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    # The first step builds what is built once: kernels, choices of backends, optimiser state.
    train_and_predict(model, inputs, optimizer)
    try:
        with warnings.catch_warnings():
            # PyTorch warns that the check does not find everything.
            warnings.simplefilter('ignore')
            torch.cuda.set_sync_debug_mode('error')
        train_and_predict(model, inputs, optimizer)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert all(parameter.isfinite().all() for parameter in model.parameters())
