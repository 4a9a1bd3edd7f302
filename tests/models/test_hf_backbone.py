"""Backbones of Transformers against the library's own outputs, and in a segmentor."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from tiny_setup import MSRC21
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models import HFBackbone

transformers = pytest.importorskip('transformers')

VIT = dict(hidden_size=16, num_hidden_layers=3, num_attention_heads=2)
STAGES = dict(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1])
WINDOWS = dict(embed_dim=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2])
FAMILIES = {
    'beit': dict(VIT, image_size=64, intermediate_size=32),
    'bit': dict(embedding_size=16, hidden_sizes=[16, 32, 32, 64], depths=[1] * 4, num_groups=4),
    'convnext': STAGES,
    'convnextv2': STAGES,
    'dinov2': dict(VIT, image_size=70),
    'dinov2_with_registers': dict(VIT, image_size=70),
    'dinov3_convnext': STAGES,
    'dinov3_vit': dict(VIT, intermediate_size=32, num_register_tokens=4),
    'focalnet': dict(embed_dim=8, hidden_sizes=[8, 16, 32, 64], depths=[1] * 4),
    'hiera': dict(WINDOWS, image_size=[64, 64]),
    'pvt_v2': dict(STAGES, num_attention_heads=[1, 1, 2, 2]),
    'resnet': dict(STAGES, embedding_size=8),
    'swin': dict(WINDOWS, window_size=4),
    'swinv2': dict(WINDOWS, window_size=4),
    'vitdet': dict(VIT, image_size=64, pretrain_image_size=64),
}
PATCHES = {
    name: dict(model_type=name, **FAMILIES[name]) for name in ('dinov2', 'dinov3_vit', 'convnext')
}


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope('mmseg')


def build(family: str, **options) -> HFBackbone:
    torch.manual_seed(0)
    first = 0 if family == 'pvt_v2' else 1
    count = 3 if 'num_hidden_layers' in FAMILIES[family] else 4
    options.setdefault('out_indices', range(first, first + count))
    return HFBackbone(config=dict(model_type=family, **FAMILIES[family]), **options).eval()


def saved(backbone: HFBackbone, folder: Path) -> str:
    backbone.model.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize('family', FAMILIES)
@torch.no_grad()
def test_equals_the_library_and_loads_what_it_saved(family, tmp_path):
    backbone = build(family)
    height, width = backbone.fixed_size or (3 * backbone.multiple[0], 2 * backbone.multiple[1])
    image = torch.rand(2, 3, height, width)
    features = backbone(image)
    library = type(backbone.model).from_pretrained(
        saved(backbone, tmp_path), out_indices=list(backbone.model.out_indices)
    )
    loaded = HFBackbone(str(tmp_path), out_indices=backbone.model.out_indices).eval()
    loaded.init_weights()
    for expected in (library.eval()(image).feature_maps, loaded(image)):
        assert all(map(torch.equal, features, expected))
    shapes = [(height // down, width // right) for down, right in backbone.strides]
    assert [tuple(feature.shape[2:]) for feature in features] == shapes
    assert [feature.shape[1] for feature in features] == list(backbone.channels)


@pytest.mark.parametrize('family', FAMILIES)
def test_any_size_gives_gradients_everywhere(family):
    backbone = build(family).train()
    for height, width in ((1, 1), (37, 45)):
        features = backbone(torch.rand(2, 3, height, width))
        shapes = [(-(-height // down), -(-width // right)) for down, right in backbone.strides]
        assert [tuple(feature.shape[2:]) for feature in features] == shapes
    sum(feature.square().sum() for feature in features).backward()
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    assert trained and all(parameter.grad is not None for parameter in trained)


def sampled(feature: Tensor, size: int, padded: int, cells: int, axis: int) -> Tensor:
    """Sample along an axis where ``cells`` cells over ``size`` pixels have their centres."""
    stride = padded / feature.shape[axis]
    centres = (np.arange(cells) + 0.5) * size / cells / stride - 0.5
    return torch.from_numpy(
        np.apply_along_axis(
            lambda row: np.interp(centres, np.arange(len(row)), row), axis, feature.double().numpy()
        )
    )


@pytest.mark.parametrize('family', ['dinov2', 'dinov3_vit', 'convnext'])
@torch.no_grad()
def test_features_of_a_padded_image_lie_over_the_image(family):
    backbone = build(family)
    image = torch.rand(1, 3, 65, 97)
    padded = [-(-side // step) * step for side, step in zip((65, 97), backbone.multiple)]
    bordered = torch.zeros(1, 3, *padded)
    bordered[..., :65, :97] = image
    for feature, whole, (down, right) in zip(backbone(image), backbone(bordered), backbone.strides):
        rows = sampled(whole, 65, padded[0], -(-65 // down), 2)
        expected = sampled(rows, 97, padded[1], -(-97 // right), 3)
        torch.testing.assert_close(feature.double(), expected, rtol=1e-4, atol=1e-5)


def test_half_precision_keeps_the_dtype_of_the_features():
    backbone = build('dinov2')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        whole, cropped = backbone(torch.rand(1, 3, 70, 70)), backbone(torch.rand(1, 3, 65, 70))
    assert [feature.dtype for feature in cropped] == [feature.dtype for feature in whole]


def kept_bytes(backbone: nn.Module, image: Tensor) -> int:
    """Return the size of the tensors that a forward pass keeps for the backward pass."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.nbytes) or t, lambda t: t
    ):
        backbone(image)
    return sum(kept)


FROZEN = {
    'ResNetV1s': dict(type='ResNetV1s', depth=18, base_channels=8, stem_channels=16),
    'EfficientNetLite': dict(type='EfficientNetLite', arch=0),
    **{name: dict(type='HFBackbone', config=config) for name, config in PATCHES.items()},
    'resnet': dict(type='HFBackbone', config=dict(model_type='resnet', **FAMILIES['resnet'])),
}


@pytest.mark.parametrize('settings', FROZEN.values(), ids=list(FROZEN))
def test_a_frozen_backbone_keeps_no_activations(settings):
    freeze = dict(frozen=True) if settings['type'] == 'HFBackbone' else dict(frozen_stages=4)
    frozen, tuned = MODELS.build({**settings, **freeze}), MODELS.build(settings)
    image = torch.rand(2, 3, 64, 80)
    before = copy.deepcopy(frozen.state_dict())
    frozen.train()
    assert kept_bytes(tuned, image) > 0
    assert kept_bytes(frozen, image) == 0
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(torch.equal(value, before[key]) for key, value in frozen.state_dict().items())
    # The same as in evaluation: no stochastic depth, no statistics of the batch.
    features = frozen(image)
    frozen.eval()
    for feature, expected in zip(features, frozen(image)):
        torch.testing.assert_close(feature, expected)


@pytest.mark.parametrize('family', ['dinov2', 'dinov3_vit', 'swinv2'])
def test_recomputed_activations_give_the_same_gradients(family):
    gradients, kept = [], []
    image = torch.rand(2, 3, 64, 64)
    for with_cp in (False, True):
        backbone = build(family, with_cp=with_cp).train()
        kept.append(kept_bytes(backbone, image))
        sum(feature.square().sum() for feature in backbone(image)).backward()
        gradients.append([p.grad for p in backbone.parameters() if p.requires_grad])
    assert kept[1] < kept[0]
    for one, two in zip(*gradients):
        torch.testing.assert_close(one, two)


PYRAMID = dict(type='Feature2Pyramid', embed_dim=16, norm_cfg=dict(type='BN'))
SIZE = (64, 64)


def batch(num_classes: int) -> dict:
    samples = []
    for _ in range(2):
        meta = dict(img_shape=SIZE, ori_shape=(50, 70), pad_shape=SIZE, padding_size=[0] * 4)
        sample = SegDataSample(metainfo=meta)
        sample.gt_sem_seg = PixelData(data=torch.randint(num_classes, (1, *SIZE)))
        samples.append(sample)
    images = torch.randint(256, (2, 3, *SIZE), dtype=torch.uint8)
    return dict(inputs=list(images), data_samples=samples)


def segmentor(config: dict, pyramid: bool = False, **backbone) -> nn.Module:
    model = Config.fromfile(MSRC21).model
    count = 4 if pyramid else 3
    channels = [16] * count if 'hidden_size' in config else [16, 24, 32]
    out_indices = (0, 1, 2, 3) if pyramid else (1, 2, 3) if 'hidden_size' in config else (2, 3, 4)
    model.backbone = dict(type='HFBackbone', config=config, out_indices=out_indices, **backbone)
    model.data_preprocessor.size = SIZE
    model.decode_head.update(
        in_channels=channels,
        in_index=list(range(count)),
        channels=16,
        num_codes=4,
        add_lateral=True,
    )
    model.auxiliary_head.update(in_channels=channels[1], in_index=1)
    model.test_cfg = dict(mode='whole')
    if pyramid:
        model.neck = PYRAMID
    return MODELS.build(model)


@pytest.mark.parametrize(
    'family, pyramid',
    [*((family, False) for family in PATCHES), ('dinov2', True), ('dinov3_vit', True)],
)
def test_trains_with_the_encoding_head(family, pyramid):
    model = segmentor(PATCHES[family], pyramid)
    model.init_weights()
    if pyramid:
        strides = [
            64 / feature.shape[2] for feature in model.extract_feat(torch.rand(2, 3, 64, 64))
        ]
        patch = model.backbone.strides[0][0]
        assert strides == pytest.approx([patch / 4, patch / 2, patch, 2 * patch], rel=0.5)
    data = model.data_preprocessor(batch(model.num_classes), training=True)
    loss, _ = model.parse_losses(model.loss(**data))
    loss.backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad.isfinite().all() for parameter in trained)
    model.eval()
    with torch.no_grad():
        (prediction, _) = model.val_step(batch(model.num_classes))
    assert prediction.pred_sem_seg.data.shape == (1, 50, 70)


def test_weights_of_other_precision_load_in_single_precision(tmp_path):
    backbone = build('convnext')
    backbone.model.half().save_pretrained(tmp_path)
    other = HFBackbone(str(tmp_path))
    other.init_weights()
    assert {value.dtype for value in other.parameters()} == {torch.float32}


def test_weights_of_a_classifier_load_but_for_the_norms_of_the_outputs(tmp_path):
    config = transformers.AutoConfig.for_model('convnext', **FAMILIES['convnext'])
    classifier = transformers.AutoModelForImageClassification.from_config(config)
    classifier.save_pretrained(tmp_path)
    backbone = HFBackbone(str(tmp_path), out_indices=(2, 4))
    backbone.init_weights()
    theirs = classifier.convnext.encoder.state_dict()
    ours = backbone.model.encoder.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def folder_with(tmp_path: Path, **changes) -> str:
    """Return a folder with a saved network, changed as named."""
    saved(build('dinov2'), tmp_path)
    weights, config = tmp_path / 'model.safetensors', tmp_path / 'config.json'
    if 'pickle' in changes:
        weights.rename(tmp_path / 'pytorch_model.bin')
    if 'missing' in changes:
        weights.unlink()
    if 'truncated' in changes:
        weights.write_bytes(weights.read_bytes()[:2000])
    if 'config' in changes:
        config.write_text(json.dumps(dict(json.loads(config.read_text()), **changes['config'])))
    return str(tmp_path)


@pytest.mark.parametrize(
    'changes, sentence',
    [
        (dict(pickle=True), r'contains only pytorch_model\.bin, a pickle that can run code'),
        (dict(missing=True), 'contains no weights'),
        (dict(truncated=True), 'cannot be loaded'),
        (dict(config=dict(hidden_size=32)), r'has another shape than .*; use weights of the same'),
        (dict(config=dict(num_hidden_layers=4)), 'do not contain .* entries of Dinov2Backbone'),
        (dict(config=dict(model_type='bert')), "model_type 'bert' has no backbone"),
        (
            dict(config=dict(model_type='own', auto_map=dict(AutoConfig='own.Config'))),
            'needs code from its own folder, which never runs',
        ),
    ],
)
def test_a_folder_that_does_not_fit(changes, sentence, tmp_path):
    folder = folder_with(tmp_path, **changes)
    with pytest.raises(UserError, match=sentence):
        HFBackbone(folder).init_weights()


def test_a_name_that_is_not_on_this_machine(monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with pytest.raises(
        UserError, match=r"HF_HUB_OFFLINE is set .*'hf download nobody/nothing-at-all'"
    ):
        HFBackbone('nobody/nothing-at-all')


@pytest.mark.parametrize(
    'arguments, sentence',
    [
        (dict(), 'needs an architecture'),
        (dict(name='./nowhere'), r'folder \./nowhere does not exist'),
        (dict(name='a/b/c'), 'folder a/b/c does not exist'),
        (dict(config=dict(hidden_size=16)), 'has no model_type'),
        (dict(config=dict(model_type='gpt2')), "'gpt2' has no backbone in transformers"),
        (dict(config=dict(model_type='timm_backbone')), 'use TIMMBackbone'),
        (dict(config=dict(model_type='dinov2', hidden=16)), "unknown entry 'hidden'"),
        (dict(config=dict(model_type='dinov2', hidden_size='a')), 'does not fit|cannot build'),
        (dict(config=PATCHES['dinov2'], out_indices=(1, 4)), r'from 0 to 3 .*got \[1, 4\]'),
        (dict(config=PATCHES['dinov2'], out_indices=(2, 1)), 'must ascend'),
        (dict(config=PATCHES['dinov2'], out_indices=()), 'from 0 to 3'),
        (dict(config=PATCHES['dinov2'], init_cfg=dict(type='Normal')), 'type Pretrained'),
        (dict(config=PATCHES['convnext'], with_cp=True), 'does not support with_cp=True'),
        (dict(config=dict(model_type='vitpose_backbone', **VIT)), 'no feature maps'),
    ],
)
def test_wrong_arguments(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        HFBackbone(**arguments)


def test_a_network_of_fixed_size_refuses_larger_images():
    with pytest.raises(UserError, match='images of up to 64 x 64 pixels, got 65 x 64'):
        build('hiera')(torch.rand(1, 3, 65, 64))


def test_transformers_is_imported_when_a_backbone_is_built(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'transformers', None)
    with pytest.raises(UserError, match=r"pip install 'mmsegmentation-encnet\[hf\]'"):
        HFBackbone(config=PATCHES['dinov2'])
