"""Exact resuming: whole checkpoints with every random state, and samples drawn from seeds."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.resuming.resumable_checkpoint_hook import ResumableCheckpointHook
from mmseg_encnet.resuming.seeded_infinite_sampler import SeededInfiniteSampler

__all__ = ['ResumableCheckpointHook', 'SeededInfiniteSampler']
