"""In several processes without synchronised norms, all evaluate and save the same network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from process_group import in_process_group
from tiny_setup import MSRC21, SHRUNK

from mmseg_encnet.checkpoints.plain_loading import load_from_local
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.running.explain import explain
from mmseg_encnet.running.runner import EncNetRunner

BN = {
    f'model.{part}.norm_cfg': dict(type='BN')
    for part in ('backbone', 'decode_head', 'auxiliary_head')
}


class RecordHook(Hook):
    """Keeps the running statistics with which each process validates."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.validated: list[dict[str, torch.Tensor]] = []

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.validated.append(statistics(runner.model.module.state_dict()))


def statistics(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in state.items() if 'running_' in key}


def trained(options: dict, work_dir: str) -> Any:
    """Train; return the statistics of validation and best checkpoint, or the sentence."""
    cfg = load_config(str(MSRC21), {**SHRUNK, **options}, work_dir, 'pytorch')
    runner = EncNetRunner.from_cfg(cfg)
    hook = RecordHook()
    runner.register_hook(hook)
    try:
        runner.train()
    except Exception as error:
        return explain(error)
    files = sorted(Path(work_dir).glob('*.pth'))
    saved = {
        file.name: statistics(load_from_local(str(file), 'cpu')['state_dict']) for file in files
    }
    as_lists = [
        {key: value.tolist() for key, value in state.items()}
        for state in (hook.validated[0], *saved.values())
    ]
    return list(saved), as_lists


def test_validation_and_checkpoints_have_the_same_statistics(tiny_data, tmp_path):
    options = {**BN, 'data_root': str(tiny_data), 'randomness.seed': 1}
    one, other = in_process_group(2, trained, options, str(tmp_path / 'work'))
    assert one[0] == other[0] == ['best_mIoU_iter_2.pth', 'iter_2.pth']
    assert one[1] == other[1]
    validated, *saved = one[1]
    assert validated and all(state == validated for state in saved)


def test_unused_parameters_name_the_key(tiny_data, tmp_path):
    # The last stage of the backbone has no part in the loss.
    options = {
        'data_root': str(tiny_data),
        'model.decode_head.in_channels': [16, 32],
        'model.decode_head.in_index': [1, 2],
    }
    for sentence in in_process_group(2, trained, options, str(tmp_path / 'one')):
        assert 'backbone.layer4.0.conv1.weight' in sentence
        assert 'set find_unused_parameters=True in the config or with --cfg-options' in sentence
    options['find_unused_parameters'] = True
    for result in in_process_group(2, trained, options, str(tmp_path / 'two')):
        assert not isinstance(result, str), result


def test_one_image_in_each_process(tiny_data, tmp_path):
    # Synchronised norms fall back to plain ones without GPUs.
    options = {key: value for key, value in SHRUNK.items() if 'num_codes' not in key}
    options |= {
        'model.decode_head.in_channels': 64,
        'train_dataloader.batch_size': 1,
        'data_root': str(tiny_data),
    }
    for sentence in in_process_group(2, _refused, 'pspnet', options, str(tmp_path / 'work')):
        assert 'a batch of a process can have 1 image; set train_dataloader.batch_size' in sentence


def _refused(config: str, options: dict, work_dir: str) -> str | None:
    cfg = load_config(f'{config}_r18_msrc21', options, work_dir, 'pytorch')
    try:
        EncNetRunner.from_cfg(cfg).train()
    except Exception as error:
        return explain(error)
    return None
