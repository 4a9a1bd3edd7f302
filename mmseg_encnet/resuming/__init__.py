"""Exact resuming: an interrupted training ends with the same bits as an uninterrupted one.

What that takes, in the order in which a training meets it:

1. :mod:`.seeded_infinite_sampler` derives the augmentation of a sample from the seed and the
   sample's position, so that interruptions and workers do not change it.
2. :mod:`.resumable_checkpoint_hook` writes checkpoints that are always complete, with
   :mod:`.process_state` of every process, which includes its :mod:`.random_states`.
3. :mod:`.find` chooses the checkpoint that ``--resume`` continues from.
4. The hook then restores the state of each process, continues the order of the samples and repeats
   a validation that the interruption cut off.

It holds on the CPU with the same number of threads, on which the order of summation in PyTorch's
convolutions depends; resuming with another number warns.
"""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.resuming.resumable_checkpoint_hook import ResumableCheckpointHook
from mmseg_encnet.resuming.seeded_infinite_sampler import SeededInfiniteSampler

__all__ = ['ResumableCheckpointHook', 'SeededInfiniteSampler']
