"""Non-finite losses and weights, and training without labels, end in one sentence."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from tiny_setup import MSRC21
from toolbox_state import clear_toolbox_state

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.running.hooks import LabelCheckHook
from mmseg_encnet.running.processes import run_test, run_training
from mmseg_encnet.running.runner import EncNetRunner

BURST = {
    'optim_wrapper.optimizer.lr': 1e8,
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
    """The effect of an overflowing gradient while the loss is still finite."""

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
    with pytest.raises(UserError, match=f'{entry} contains NaN or infinite values at iteration 2'):
        runner.train()
    assert [path.name for path in Path(cfg.work_dir).glob('*.pth')] == ['iter_1.pth']


def batch(labels: list[int]) -> tuple[torch.Tensor, list[SegDataSample]]:
    """Return random images, each labelled with a single value."""
    torch.manual_seed(0)
    samples = []
    for label in labels:
        sample = SegDataSample(metainfo=dict(img_shape=(48, 48), pad_shape=(48, 48)))
        sample.gt_sem_seg = PixelData(data=torch.full((1, 48, 48), label))
        samples.append(sample)
    return torch.randn(len(labels), 3, 48, 48), samples


HEADS = {
    'SE loss': {},
    'no SE loss': {'model.decode_head.use_se_loss': False},
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


def ignore_labels(folder: Path, count: int) -> None:
    for path in sorted(folder.iterdir())[:count]:
        Image.new('L', Image.open(path).size, 255).save(path)


def test_a_batch_without_labels_is_no_error(tiny_config, tiny_data):
    ignore_labels(tiny_data / 'labels' / 'train', 2)
    cfg = tiny_config({'train_dataloader.sampler.shuffle': False})
    run_training(cfg)
    state = CheckpointLoader.load_checkpoint(f'{cfg.work_dir}/iter_2.pth')['state_dict']
    assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize('workers', [0, 1])
def test_a_training_without_labels_stops(workers, run_tool, tiny_options, tiny_data, tmp_path):
    ignore_labels(tiny_data / 'labels' / 'train', 4)
    options = {
        **tiny_options,
        'train_dataloader.num_workers': workers,
        'default_hooks.checkpoint.interval': 1,
    }
    sentence = run_tool('train', MSRC21, '--work-dir', 'work', options=options).sentence
    assert sentence == (
        f'every pixel of all 4 training labels of MSRC21Dataset at {tiny_data} is ignored; check '
        'its label files and ignore_index.'
    )
    assert not (tmp_path / 'work' / 'iter_2.pth').exists()


def test_only_the_first_iterations_are_checked(tiny_config):
    class Batches:
        """The part of a runner that the hook reads."""

        iter, max_iters, model = 0, 100, None
        train_dataloader = SimpleNamespace(dataset=[])

    runner, hook = Batches(), LabelCheckHook(iterations=3)
    empty, full = ({'data_samples': batch([label])[1]} for label in (255, 3))
    for batches, stops in (
        ([empty, empty, full, empty, empty], False),
        ([full] + 4 * [empty], False),
        (3 * [empty], True),
        # Unknown forms of batches are left alone.
        (4 * [[empty]], False),
    ):
        hook.before_train(runner)
        with pytest.raises(UserError, match='3 iterations') if stops else nullcontext():
            for runner.iter, data_batch in enumerate(batches):
                hook.before_train_iter(runner, runner.iter, data_batch)
        runner.iter = 0
    runner.iter = 1
    hook.before_train(runner)
    hook.before_train_iter(runner, 1, empty)


def test_metrics_of_nothing_are_reported(tiny_config, tiny_data):
    ignore_labels(tiny_data / 'labels' / 'val', 2)
    run_training(cfg := tiny_config())
    clear_toolbox_state()
    run_test(tested := tiny_config(work_dir='tested'), f'{cfg.work_dir}/iter_2.pth')
    for work_dir in (cfg.work_dir, tested.work_dir):
        log = next(Path(work_dir).glob('*/*.log')).read_text()
        assert 'mIoU' in log.partition('got NaN for ')[2].partition(':')[0]
