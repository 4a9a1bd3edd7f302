"""Losses on the validation images: their values, and that training stays the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from process_group import in_process_group

from mmseg_encnet.errors import UserError
from mmseg_encnet.ops import presence_targets
from mmseg_encnet.running.runner import EncNetRunner

HOOK = [dict(type='ValLossHook')]


def run(cfg) -> EncNetRunner:
    runner = EncNetRunner.from_cfg(cfg)
    runner.train()
    return runner


def scalars(runner, prefix: str = 'val/') -> dict[str, float]:
    return {
        key.removeprefix(prefix): value.current()
        for key, value in runner.message_hub.log_scalars.items()
        if key.startswith(prefix) and 'loss' in key
    }


@torch.no_grad()
def expected_losses(runner) -> dict[str, float]:
    """Compute the losses of all images at once, from logits of the size of the labels."""
    model = runner.model.eval()
    pixels, presence, se_logits, scores = [], [], [], {'decode': [], 'aux': []}
    for sample in runner.val_dataloader.dataset:
        data = model.data_preprocessor(
            dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]), False
        )
        label = sample['data_samples'].gt_sem_seg.data
        features = model.extract_feat(data['inputs'])
        logits, se = model.decode_head(features)
        for name, part in (('decode', logits), ('aux', model.auxiliary_head(features))):
            part = F.interpolate(part, label.shape[1:], mode='bilinear', align_corners=True)
            scores[name].append(part.flatten(2)[0].T)
        pixels.append(label.flatten())
        presence.append(presence_targets(label, 21))
        se_logits.append(se)
    label = torch.cat(pixels)
    presence = torch.cat(presence)
    labelled = presence.any(1)
    weight = torch.tensor(
        runner.cfg.model.decode_head.loss_decode.get('class_weight') or [1.0] * 21
    )
    return {
        'decode.loss_ce': F.cross_entropy(
            torch.cat(scores['decode']), label, weight, ignore_index=255
        ).item(),
        'aux.loss_ce': 0.2
        * F.cross_entropy(torch.cat(scores['aux']), label, ignore_index=255).item(),
        'decode.loss_se': 0.2
        * F.binary_cross_entropy_with_logits(
            torch.cat(se_logits)[labelled], presence[labelled].float()
        ).item(),
    }


@pytest.mark.parametrize('weighted', [False, True])
def test_values(tiny_config, weighted):
    options = {'custom_hooks': HOOK, 'default_hooks.checkpoint.save_best': 'loss'}
    if weighted:
        options['model.decode_head.loss_decode.class_weight'] = np.linspace(0.5, 2, 21).tolist()
    runner = run(tiny_config(options))
    measured = scalars(runner)
    expected = expected_losses(runner)
    assert measured.pop('loss') == pytest.approx(sum(expected.values()), rel=3e-6)
    assert measured == pytest.approx(expected, rel=3e-6)
    assert list(Path(runner.work_dir).glob('best_loss_iter_2.pth'))


def test_training_is_the_same_to_the_bit(tiny_config):
    states = []
    for hooks in ([], HOOK):
        cfg = tiny_config(
            {'custom_hooks': hooks, 'train_cfg.val_interval': 1, 'randomness.seed': 0}
        )
        states.append(run(cfg).model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def validation_losses(cfg) -> dict[str, float]:
    runner = EncNetRunner.from_cfg(cfg)
    metrics = runner.val()
    return {key: value for key, value in metrics.items() if 'loss' in key}


def test_any_number_of_processes_and_any_batch_size(tiny_config, tiny_data):
    options = {
        'custom_hooks': HOOK,
        'randomness.seed': 0,
        # Four images of one size and three processes: two samples are repeated.
        'val_dataloader.dataset.data_prefix': dict(
            img_path='images/train', seg_map_path='labels/train'
        ),
        'val_dataloader.dataset.pipeline.Resize': dict(scale=(64, 64), keep_ratio=False),
    }
    cfg = tiny_config(options)
    (alone,) = in_process_group(1, validation_losses, cfg)
    assert set(alone) == {'loss', 'decode.loss_ce', 'decode.loss_se', 'aux.loss_ce'}
    cfg.val_dataloader.batch_size = 4
    (batch,) = in_process_group(1, validation_losses, cfg)
    assert batch == pytest.approx(alone, rel=3e-6)
    cfg.val_dataloader.batch_size = 2
    cfg.launcher = 'pytorch'
    for world_size in (2, 3):
        for losses in in_process_group(world_size, validation_losses, cfg):
            assert losses == pytest.approx(alone, rel=3e-6)


def test_windows_cover_every_pixel_once(tiny_config):
    cfg = tiny_config(
        {
            'custom_hooks': HOOK,
            'model.test_cfg': dict(
                _delete_=True, mode='slide', crop_size=(40, 40), stride=(30, 30)
            ),
        }
    )
    runner = EncNetRunner.from_cfg(cfg)
    pixels = []
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'ValLossHook')
    add = hook._add
    hook._add = lambda terms: pixels.append(terms['decode.loss_ce'].weight) or add(terms)
    runner.val()
    labels = [sample['data_samples'].gt_sem_seg.data for sample in runner.val_dataloader.dataset]
    assert sum(pixels) == sum((label != 255).sum().item() for label in labels)
    assert len(pixels) > 2


def test_a_validation_without_labels_is_refused(tiny_config):
    cfg = tiny_config({'custom_hooks': HOOK})
    steps = cfg.val_dataloader.dataset.pipeline
    cfg.val_dataloader.dataset.pipeline = [s for s in steps if s['type'] != 'LoadAnnotations']
    cfg.val_evaluator = []
    with pytest.raises(UserError, match=r'yields no labels.*LoadAnnotations'):
        EncNetRunner.from_cfg(cfg).train()
