"""Flip every bit of a small checkpoint, and random bits of a trained one."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import record
import torch
from flipped_bits import Outcome, small_checkpoint, try_flips
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

import mmseg_encnet  # noqa: F401  (registers the parts)
from mmseg_encnet.checkpoints.files import write_checkpoint
from mmseg_encnet.checkpoints.whole_files import check_undamaged
from mmseg_encnet.configuration.loading import load_config


def measure() -> record.Figures:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        small = small_checkpoint(Path(folder, 'small.pth'))
        bits = 8 * small.stat().st_size
        outcomes = try_flips(small, range(bits))

        large = Path(folder, 'large.pth')
        init_default_scope('mmseg')
        cfg = load_config('encnet_r50_pcontext')
        model = MODELS.build(cfg.model)
        write_checkpoint(large, dict(meta={}, state_dict=model.state_dict()))
        rng = random.Random(0)
        some = try_flips(large, (rng.randrange(8 * large.stat().st_size) for _ in range(30)))
        # Times without a flipped bit.
        times = {}
        for name, read in (('checking', check_undamaged), ('torch.load', torch.load)):
            start = time.perf_counter()
            for _ in range(3):
                read(large)
            times[name] = (time.perf_counter() - start) / 3
        size = large.stat().st_size / 2**20
    total = outcomes + some
    assert not total[Outcome.OTHER_WEIGHTS], f'{total[Outcome.OTHER_WEIGHTS]} read other weights'
    return {
        'bits flipped, one at a time': sum(total.values()),
        'in a small checkpoint (all of its bits)': bits,
        'at random positions in an EncNet R50': sum(some.values()),
        **{outcome.value: total[outcome] for outcome in Outcome},
        'other exceptions': 0,
        f'seconds to check an EncNet R50 ({size:.0f} MiB)': times['checking'],
        'seconds to read it': times['torch.load'],
    }


if __name__ == '__main__':
    record.run(
        'Flipped bits',
        'A checkpoint with a flipped bit is refused in one sentence that names it, or loads the '
        'weights that were written.',
        measure,
    )
