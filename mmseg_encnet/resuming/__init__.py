"""Exact resuming: an interrupted run ends with the same bits as an uninterrupted one.

Its parts, in the order in which they act:

1. :mod:`.seeded_samplers` derives the augmentation of a sample from the seed and the
   sample's position, independently of interruptions and of the number of workers.
2. :mod:`.resumable_checkpoint_hook` writes checkpoints that are always complete, with
   :mod:`.process_state` of every process, which includes its :mod:`.random_states`, and with the
   average of their :mod:`.running_statistics`.
3. :mod:`.find` chooses the checkpoint that ``--resume`` continues from.
4. :mod:`.run_record` describes what a run was, with its :mod:`.samples`; :mod:`.changes` and
   :mod:`.training_state` find what differs from the checkpoint, by the names in
   :mod:`mmseg_encnet.configuration.kinds`.
   :mod:`.adapting` refuses it or, where it can be done exactly or :mod:`.options` accept it,
   continues with it.
5. The hook then restores the state of each process, continues the order of the samples and repeats
   a validation that the interruption cut off.

:mod:`.repeated_views` uses the same seeding for a fixed number of random views of each image.

Resuming is exact on the CPU with the same number of threads, on which the order of summation in
PyTorch's convolutions depends; with another number, a warning is logged.
"""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.resuming.repeated_views import RepeatedViews
from mmseg_encnet.resuming.resumable_checkpoint_hook import ResumableCheckpointHook
from mmseg_encnet.resuming.resumable_early_stopping_hook import ResumableEarlyStoppingHook
from mmseg_encnet.resuming.seeded_samplers import SeededDefaultSampler, SeededInfiniteSampler

__all__ = [
    'RepeatedViews',
    'ResumableCheckpointHook',
    'ResumableEarlyStoppingHook',
    'SeededDefaultSampler',
    'SeededInfiniteSampler',
]
