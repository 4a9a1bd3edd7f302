from .hooks import LossCheckHook, ResumableCheckpointHook
from .runner import EncNetRunner

__all__ = ['EncNetRunner', 'LossCheckHook', 'ResumableCheckpointHook']
