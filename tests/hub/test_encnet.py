"""EncNet as users of PyTorch-Encoding build, call, train and evaluate it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.apis import inference_model, init_model, show_result_pyplot
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from torch import Tensor, nn

from mmseg_encnet import EncNet, get_encnet
from mmseg_encnet.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def model() -> EncNet:
    torch.manual_seed(0)
    return EncNet(
        7,
        'resnet50s',
        aux=True,
        se_loss=True,
        lateral=False,
        norm_layer=nn.SyncBatchNorm,
        base_size=96,
        crop_size=64,
    ).eval()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(2, 3, 65, 88, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    'switches, expected',
    [
        (dict(), ['scores', 'presence', 'scores']),
        (dict(aux=False), ['scores', 'presence']),
        (dict(se_loss=False), ['scores', 'scores']),
        (dict(aux=False, se_loss=False, lateral=True), ['scores']),
        (dict(lateral=True, dilated=False), ['scores', 'presence', 'scores']),
    ],
    ids=str,
)
@torch.no_grad()
def test_a_call_returns_the_parts_that_are_on(switches, expected, x):
    model = EncNet(7, 'resnet50s', **switches).eval()
    shapes = dict(scores=(2, 7, 65, 88), presence=(2, 7))
    outputs = model(x)
    assert isinstance(outputs, tuple)
    assert [tuple(output.shape) for output in outputs] == [shapes[name] for name in expected]


@pytest.mark.parametrize(
    'backbone, options, stride, stem, weights',
    [
        ('resnet50s', {}, 8, 'backbone.stem.6.weight', 'pytorch-encoding://~/.encoding/models/'),
        ('resnet50s', dict(root='/weights/'), 8, None, 'pytorch-encoding:///weights/resnet50s'),
        ('resnet50s', dict(dilated=False), 32, None, 'resnet50s'),
        ('resnet50', {}, 8, 'backbone.conv1.weight', 'https://download.pytorch.org/models/'),
        ('ResNet50', dict(dilated=False), 32, None, 'resnet50-0676ba61.pth'),
    ],
)
@torch.no_grad()
def test_backbones(backbone, options, stride, stem, weights):
    model = EncNet(4, backbone, **options).eval()
    features = model.base_forward(torch.rand(1, 3, 64, 64))
    assert [feature.shape[1] for feature in features] == [256, 512, 1024, 2048]
    assert features[-1].shape[2:] == (64 // stride, 64 // stride)
    assert stem is None or stem in model.state_dict()
    assert weights in model.backbone.init_cfg['checkpoint']


def test_attributes_of_the_original(model):
    assert (model.nclass, model.aux, model.se_loss) == (7, True, True)
    assert (model.base_size, model.crop_size) == (96, 64)
    assert model.mean == [0.485, 0.456, 0.406]
    assert model.std == [0.229, 0.224, 0.225]
    assert model.pretrained is model.backbone
    assert model.head is model.decode_head
    assert model.auxlayer is model.auxiliary_head
    assert all(
        key.startswith(('backbone.', 'decode_head.', 'auxiliary_')) for key in model.state_dict()
    )
    assert model.test_cfg.stride == (42, 42)
    with torch.device('meta'):
        bare = EncNet(7, 'resnet50s', aux=False, se_loss=False, norm_layer=nn.BatchNorm2d)
    assert (bare.aux, bare.se_loss, bare.base_size, bare.crop_size) == (False, False, 520, 480)
    assert not hasattr(bare, 'auxlayer')
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in bare.modules())
    # The original's test.py sets the sizes of a network from its model zoo.
    bare.base_size, bare.crop_size = 640, 576
    assert (bare.test_cfg.crop_size, bare.test_cfg.stride) == ((576, 576), (384, 384))
    with pytest.raises(UserError, match='got crop_size=0'):
        bare.crop_size = 0


def test_statistics_and_resizing_reach_the_toolbox():
    with torch.device('meta'):
        half, up_kwargs = [0.5] * 3, dict(mode='bilinear', align_corners=False)
        model = EncNet(7, 'resnet50s', mean=half, std=np.array(half), up_kwargs=up_kwargs)
    assert model.cfg.model.data_preprocessor['mean'] == [127.5] * 3
    assert model.cfg.model.data_preprocessor.std == [127.5] * 3
    assert not model.align_corners
    assert not model.auxlayer.align_corners


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(nclass=1), ['nclass=1', 'at least 2']),
        (dict(nclass=59.0), ['nclass=59.0', 'whole number']),
        (dict(backbone='resnest50'), ["unknown backbone 'resnest50'", 'resnet50s, resnet101s']),
        (dict(backbone=50), ['unknown backbone 50']),
        (dict(aux='yes'), ["aux='yes'", 'True or False']),
        (dict(se_loss=1), ['se_loss=1']),
        (dict(lateral=None), ['lateral=None']),
        (dict(dilated=2), ['dilated=2']),
        (dict(norm_layer=nn.GroupNorm), ['GroupNorm', 'torch.nn.SyncBatchNorm', 'norm_cfg']),
        (dict(norm_layer='BN'), ["norm_layer='BN'"]),
        (dict(base_size=0), ['base_size=0', 'at least 1']),
        (dict(base_size=True), ['base_size=True']),
        (dict(crop_size=7), ['crop_size=7', 'at least 8']),
        (dict(crop_size=(480, 480)), ['crop_size=(480, 480)']),
        (dict(mean=[123.675, 116.28, 103.53]), ['mean=[123.675', 'divide', 'by 255']),
        (dict(mean=0.5), ['mean=0.5', 'three numbers']),
        (dict(std=[0.2, 0.0, 0.2]), ['std=', 'from 0.001 to 1']),
        (dict(std=[0.2, 0.2]), ['std=', 'three numbers']),
        (dict(up_kwargs=dict(mode='nearest')), ['up_kwargs=', 'bilinear']),
        (dict(up_kwargs=None), ['up_kwargs=None']),
        (dict(root=3), ['root=3', 'a folder']),
        (dict(root=__file__), ['root=', 'a file']),
        (dict(crop=480), ['crop=480', 'did you mean crop_size?', 'decode_head=dict']),
        (dict(decode_head=dict(num_cods=8)), ['cannot be built', 'num_cods']),
        (dict(decode_head=dict(type='EncodingHed')), ['cannot be built', 'EncodingHed']),
        (dict(decode_head=8), ['cannot be built']),
        (dict(decode_head=dict(num_codes=0)), ['num_codes']),
        ({'backbone.depth.layers': 50}, ['cannot be built']),
    ],
    ids=str,
)
def test_wrong_arguments_are_one_sentence(options, words):
    with torch.device('meta'), pytest.raises(UserError) as caught:
        EncNet(**{**dict(nclass=7, backbone='resnet50s'), **options})
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert '\n' not in message
    assert message.count('cannot be built') == words.count('cannot be built')


def test_an_input_without_batch_dimension(model):
    with pytest.raises(UserError, match=r'shape \(3, 64, 64\), expected \(B, 3, H, W\)'):
        model(torch.rand(3, 64, 64))


@torch.no_grad()
def test_evaluate_counts_what_the_original_counts(model, x):
    logits = model(x)[0]
    assert model.evaluate(x).equal(logits)
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.integers(-1, 7, (2, 65, 88)))
    target[:, 5] = 255
    correct, labelled, inter, union = model.evaluate(x, target)

    predicted = logits.argmax(dim=1)
    valid = (target >= 0) & (target < 7)
    assert labelled == valid.sum() < target.numel()
    assert correct == ((predicted == target) & valid).sum() > 0
    for index in range(7):
        there, found = (target == index) & valid, (predicted == index) & valid
        assert inter[index] == (there & found).sum()
        assert union[index] == (there | found).sum()
    with pytest.raises(UserError, match=r'target of shape \(65, 88\), expected \(2, 65, 88\)'):
        model.evaluate(x, target[0])


def test_the_training_loop_of_the_original():
    """The original's optimiser, losses and weights, with a batch of two classes in equal parts."""
    torch.manual_seed(0)
    model = EncNet(3, 'resnet50s')
    lr = 0.01
    groups = [
        {'params': list(part.parameters()), 'lr': rate}
        for part, rate in ((model.pretrained, lr), (model.head, 10 * lr), (model.auxlayer, 10 * lr))
    ]
    assert sum(len(group['params']) for group in groups) == len(list(model.parameters()))
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9, weight_decay=1e-4)
    target = torch.zeros(2, 32, 48, dtype=torch.long)
    target[:, :, 24:], target[:, :2] = 1, -1
    image = target[:, None] * 2.0 - 1 + 0.1 * torch.randn(2, 3, 32, 48)
    presence = torch.tensor([[1.0, 1.0, 0.0]] * 2)

    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        logits, se, aux = model(image)
        loss = F.cross_entropy(logits, target, ignore_index=-1)
        loss = loss + 0.2 * F.cross_entropy(aux, target, ignore_index=-1)
        loss = loss + 0.2 * F.binary_cross_entropy_with_logits(se, presence)
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_calls_of_the_toolbox():
    torch.manual_seed(0)
    model = EncNet(5, 'resnet50s', crop_size=32, test_cfg=dict(mode='whole'))
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 5, (1, 32, 48))))
    sample.set_metainfo(dict(img_shape=(32, 48), ori_shape=(32, 48)))
    x = torch.rand(1, 3, 32, 48)

    losses = model(torch.cat([x, x]), [sample, sample], mode='loss')
    assert {'decode.loss_ce', 'decode.loss_se', 'aux.loss_ce'} <= losses.keys()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    image = (255 * x[0]).byte()
    batch = dict(inputs=[image, image], data_samples=[sample, sample.clone()])
    model.data_preprocessor.size = (32, 48)
    assert model.train_step(batch, optimizer)['loss'] > 0

    with torch.no_grad():
        scores, presence = model.eval()(x, [sample], mode='tensor')
        assert (scores.shape, presence.shape) == ((1, 5, 4, 6), (1, 5))
        (predicted,) = model(x, [sample], mode='predict')
        logits, se, _ = model(x)
    torch.testing.assert_close(predicted.seg_logits.data, logits[0])
    torch.testing.assert_close(predicted.presence, se[0].sigmoid())


def test_the_toolbox_builds_the_network_from_its_config(model, tmp_path):
    path = tmp_path / 'config.py'
    model.cfg.dump(path)
    rebuilt = init_model(str(path), device='cpu')
    rebuilt.load_state_dict(model.state_dict(), strict=True)
    with torch.device('meta'):
        registered = MODELS.build(dict(type='EncNet', nclass=7, backbone='resnet50s'))
    assert registered.state_dict().keys() == model.state_dict().keys()


# Unlike a script of the toolbox, neither sets the registry's scope.
FRESH = """
import sys
from mmengine.registry import DefaultScope
from mmseg.apis import inference_model
from mmseg_encnet import EncNet, get_encnet
for build, arguments in ((get_encnet, ('pcontext', 'resnet50s')), (EncNet, (59, 'resnet50s'))):
    assert DefaultScope.get_current_instance() is None
    model = build(*arguments, base_size=64, crop_size=48).eval()
    result = inference_model(model, sys.argv[1])
    assert result.pred_sem_seg.data.shape == (1, 40, 56), result
    assert result.img_shape == (46, 64), result
    DefaultScope._instance_dict.clear()
"""


@pytest.fixture
def photograph(tmp_path: Path) -> str:
    path = tmp_path / 'photograph.png'
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


def test_inference_in_a_fresh_process(photograph, tmp_path):
    subprocess.run(
        [sys.executable, '-c', FRESH, photograph],
        check=True,
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
    )


def test_drawing_a_prediction(model, photograph, tmp_path):
    result = inference_model(model, photograph)
    path = tmp_path / 'drawn.png'
    show_result_pyplot(model, photograph, result, show=False, draw_gt=False, out_file=str(path))
    assert path.is_file()


def test_names_of_the_package():
    import mmseg_encnet

    for name in mmseg_encnet.__all__:
        assert getattr(mmseg_encnet, name) is not None
    assert mmseg_encnet.get_encnet is get_encnet
    with pytest.raises(AttributeError, match='get_encnets'):
        mmseg_encnet.get_encnets  # noqa: B018
