"""A loss that is no number ends the training; crops without any label do not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from tiny_setup import MSRC21

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.running.processes import run_training
from mmseg_encnet.running.runner import EncNetRunner

BURST = {
    'optim_wrapper.optimizer.lr': 1e12,
    'train_cfg.max_iters': 6,
    'default_hooks.checkpoint.interval': 1,
    'randomness.seed': 0,
}


@pytest.mark.parametrize('accumulated', [1, 2])
def test_loss_that_is_no_number(accumulated, run_tool, tiny_options, tiny_data, tmp_path):
    options = {
        **tiny_options,
        **BURST,
        'optim_wrapper.accumulative_counts': accumulated,
        'train_dataloader.sampler.shuffle': False,
    }
    sentence = run_tool('train', MSRC21, '--work-dir', 'work', options=options).sentence
    assert 'the loss became ' in sentence and 'decode.loss_ce' in sentence
    iteration = int(sentence.partition('at iteration ')[2].split()[0])
    assert iteration > accumulated
    # Two of four images a batch, in the order of their names.
    first = 2 * (iteration - 1) % 4
    for index in range(4):
        named = str(tiny_data / 'images' / 'train' / f'{index}.jpg') in sentence
        assert named == (index in (first, first + 1))
    kept = {path.name for path in (tmp_path / 'work').glob('iter_*.pth')}
    assert f'iter_{iteration}.pth' not in kept and len(kept) <= 3
    for name in kept:
        state = CheckpointLoader.load_checkpoint(str(tmp_path / 'work' / name))['state_dict']
        assert all(value.isfinite().all() for value in state.values())


class Overflow(Hook):
    """What an overflowing gradient does while the loss is still a number."""

    def __init__(self, iteration: int, entry: str) -> None:
        self.iteration = iteration
        self.entry = entry

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if batch_idx + 1 == self.iteration:
            runner.model.state_dict()[self.entry][0] = math.inf


@pytest.mark.parametrize(
    'entry', ['decode_head.conv_seg.weight', 'decode_head.bottleneck.bn.running_var']
)
def test_weights_that_are_no_numbers_reach_no_checkpoint(entry, tiny_config):
    cfg = tiny_config({'train_cfg.max_iters': 4, 'default_hooks.checkpoint.interval': 1})
    runner = EncNetRunner.from_cfg(cfg)
    runner.register_hook(Overflow(2, entry))
    with pytest.raises(UserError, match=f'{entry} holds.*iteration 2'):
        runner.train()
    assert [path.name for path in Path(cfg.work_dir).glob('*.pth')] == ['iter_1.pth']


def batch(labels: list[int]) -> tuple[torch.Tensor, list[SegDataSample]]:
    """Random images, each labelled with one value all over."""
    torch.manual_seed(0)
    samples = []
    for label in labels:
        sample = SegDataSample(metainfo=dict(img_shape=(48, 48), pad_shape=(48, 48)))
        sample.gt_sem_seg = PixelData(data=torch.full((1, 48, 48), label))
        samples.append(sample)
    return torch.randn(len(labels), 3, 48, 48), samples


HEADS = {
    'SE-loss': {},
    'no SE-loss': {'model.decode_head.use_se_loss': False},
    'lateral': {'model.decode_head.add_lateral': True},
    'average over all pixels': {
        'model.decode_head.loss_decode.type': 'CrossEntropyLoss',
        'model.auxiliary_head.loss_decode.type': 'CrossEntropyLoss',
    },
}


@pytest.mark.parametrize('name', HEADS)
def test_crops_without_labels(name, tiny_options):
    cfg = load_config(str(MSRC21), {**tiny_options, **HEADS[name]})
    model = MODELS.build(cfg.model)
    for labels in ([255, 255], [3, 255]):
        model.zero_grad()
        losses = model.loss(*batch(labels))
        parts = {key: value for key, value in losses.items() if 'loss' in key}
        assert len(parts) == 2 + ('decode.loss_se' in parts)
        sum(parts.values()).backward()
        for key, value in parts.items():
            assert value == 0 if labels == [255, 255] else 0 < value < math.inf, key
        gradients = [parameter.grad for parameter in model.parameters()]
        assert all(grad is not None and grad.isfinite().all() for grad in gradients)
        assert any(grad.any() for grad in gradients) == (labels != [255, 255])


def test_training_on_crops_without_labels_goes_on(tiny_config, tiny_data):
    for path in (tiny_data / 'labels' / 'train').iterdir():
        Image.new('L', Image.open(path).size, 255).save(path)
    cfg = tiny_config()
    run_training(cfg)
    state = CheckpointLoader.load_checkpoint(f'{cfg.work_dir}/iter_2.pth')['state_dict']
    assert all(value.isfinite().all() for value in state.values())
