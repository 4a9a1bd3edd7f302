"""Context sheets of validation images in short training runs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from mmseg_encnet.errors import UserError
from mmseg_encnet.running.hooks import ContextSheetHook
from mmseg_encnet.running.runner import EncNetRunner


class Witness(Hook):
    """Record which predictions carry maps."""

    def __init__(self) -> None:
        self.with_maps: list[tuple[int, str]] = []

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.with_maps += [
            (runner.iter, Path(sample.img_path).name)
            for sample in outputs
            if 'assignments' in sample
        ]


def train(cfg: Config, hooks: list[dict]) -> tuple[EncNetRunner, Witness, tuple]:
    cfg.custom_hooks = hooks
    cfg.randomness = dict(seed=1)
    # Two runs with one name that start in the same second would share a log history.
    cfg.experiment_name = Path(cfg.work_dir).name
    runner = EncNetRunner.from_cfg(cfg)
    witness = Witness()
    runner.register_hook(witness, priority='VERY_LOW')
    runner.train()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    return runner, witness, states


def metrics(runner: EncNetRunner) -> list[dict]:
    lines = Path(runner.log_dir, 'vis_data', 'scalars.json').read_text().splitlines()
    timed = ('time', 'data_time', 'memory')
    return [
        {key: value for key, value in json.loads(line).items() if key not in timed}
        for line in lines
    ]


def test_sheets_come_at_each_validation_and_change_nothing(tiny_config):
    def config(name: str) -> Config:
        # The toolbox keeps one visualizer per name, with its first folder.
        return tiny_config({'train_cfg.val_interval': 1, 'visualizer.name': name}, work_dir=name)

    plain, _, states_without = train(config('plain'), [])
    drawn, witness, states_with = train(
        config('drawn'), [dict(type='ContextSheetHook', indices=[1])]
    )
    sheets = Path(drawn.log_dir, 'vis_data', 'vis_image').iterdir()
    assert {path.name for path in sheets} == {'context_1_1_1.png', 'context_1_1_2.png'}
    assert witness.with_maps == [(1, '1.jpg'), (2, '1.jpg')]
    assert states_with == states_without
    assert metrics(drawn) == metrics(plain)
    for key, value in plain.model.state_dict().items():
        assert torch.equal(value, drawn.model.state_dict()[key]), key


@pytest.mark.parametrize(
    'indices, length, processes, chosen',
    [
        (3, 11, 1, [0, 5, 10]),
        (9, 2, 1, [0, 1]),
        (1, 5, 1, [0]),
        ([4, 2], 5, 1, [4, 2]),
        (2, 11, 2, [0, 10]),
        ([3, 4], 11, 2, [4]),
    ],
)
def test_which_images(indices, length, processes, chosen, monkeypatch, tiny_config):
    monkeypatch.setattr(
        'mmseg_encnet.running.hooks.context_sheet_hook.get_world_size', lambda: processes
    )
    warnings = []
    runner = type('Runner', (), dict(logger=type('Logger', (), dict(warning=warnings.append))))
    assert ContextSheetHook(indices)._chosen(length, runner) == chosen
    assert len(warnings) == (indices == [3, 4])


@pytest.mark.parametrize('indices', [0, [], [-1], 'a', [2]])
def test_images_that_are_not_there(indices, tiny_config):
    cfg = tiny_config()
    cfg.custom_hooks = [dict(type='ContextSheetHook', indices=indices)]
    with pytest.raises(UserError, match='ContextSheetHook'):
        EncNetRunner.from_cfg(cfg).train()
