"""Records of runs: comparison, round trip and versions."""

from __future__ import annotations

import pytest
import torch

from mmseg_encnet.resuming.changes import compare, version_change
from mmseg_encnet.resuming.run_record import RunRecord, from_plain, to_plain
from mmseg_encnet.resuming.samples import Samples

RECORD = RunRecord(
    settings={
        'train_dataloader.sampler.type': 'SeededDefaultSampler',
        'optim_wrapper.type': 'OptimWrapper',
        'param_scheduler.0.type': 'PolyLR',
        'param_scheduler.0.end': 10,
    },
    samples=Samples(*(torch.arange(9) for _ in range(3)), [f'{i}.png' for i in range(9)]),
    num_samples=9,
    processes=2,
    batch_size=2,
    config_batch_size=2,
    loop='IterBasedTrainLoop',
    length=10,
    seed=1,
    device='cpu',
    versions={'PyTorch': '2.13.0', 'numpy': '2.0.0'},
)
OTHERS = {
    'the same': ({}, []),
    'one process, which repeats no image': (
        dict(processes=1, batch_size=4),
        [
            (
                'processes',
                'the number of processes changed from 2 to 1, which changes the epoch from 10 to 9 '
                'images',
            )
        ],
    ),
    'one process without a limit': (
        dict(
            processes=1,
            batch_size=4,
            settings={**RECORD.settings, 'train_dataloader.sampler.type': 'InfiniteSampler'},
        ),
        [
            (
                'sampler',
                'train_dataloader.sampler.type changed from SeededDefaultSampler to '
                'InfiniteSampler',
            )
        ],
    ),
    'batch sampler': (
        dict(batch_size=None),
        [
            (
                'batch_size',
                'the batches changed from 2 in each of 2 processes (4 in all) to those of a '
                'batch sampler in each of 2 processes',
            )
        ],
    ),
    'mixed precision': (
        dict(settings={**RECORD.settings, 'optim_wrapper.type': 'AmpOptimWrapper'}),
        [('precision', 'optim_wrapper.type changed from OptimWrapper to AmpOptimWrapper')],
    ),
    'longer, with its schedule': (
        dict(length=12, settings={**RECORD.settings, 'param_scheduler.0.end': 12}),
        [
            ('length', 'train_cfg.max_iters changed from 10 to 12'),
            ('length', 'param_scheduler.0.end changed from 10 to 12'),
        ],
    ),
    'schedule that ends elsewhere': (
        dict(settings={**RECORD.settings, 'param_scheduler.0.end': 12}),
        [('schedule', 'param_scheduler.0.end changed from 10 to 12')],
    ),
    'other order': (
        dict(samples=RECORD.samples._replace(names=torch.arange(8, -1, -1))),
        [('data', 'the training images (9) changed: in another order')],
    ),
    'no seed given': (dict(seed=None), []),
    'another seed': (dict(seed=2), [('seed', 'randomness.seed changed from 1 to 2')]),
}


@pytest.mark.parametrize('name', OTHERS)
def test_records_are_compared(name):
    changed, expected = OTHERS[name]
    assert [tuple(change) for change in compare(RECORD, RECORD._replace(**changed))] == expected


def test_other_versions_are_a_warning():
    assert version_change(RECORD, RECORD) is None
    other = RECORD._replace(versions={'PyTorch': '2.14.0', 'numpy': '2.0.0'}, device='cuda')
    assert version_change(RECORD, other) == (
        'the checkpoint was written with PyTorch 2.13.0 instead of 2.14.0, device cpu instead of '
        'cuda; results can differ by rounding.'
    )


def test_a_record_survives_its_checkpoint():
    read = from_plain(to_plain(RECORD))
    assert read is not None and compare(read, RECORD) == []
    assert from_plain({**to_plain(RECORD), 'format': 2}) is None
