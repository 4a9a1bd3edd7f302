from .loss_check_hook import LossCheckHook
from .resumable_checkpoint_hook import ResumableCheckpointHook

__all__ = ['LossCheckHook', 'ResumableCheckpointHook']
