"""Train a shipped network on a few photographs of the user."""

from mmseg_encnet.workbench.finetuning.start import adapt_start, nearest_start
from mmseg_encnet.workbench.finetuning.training import Outcome, finetune

__all__ = ['Outcome', 'adapt_start', 'finetune', 'nearest_start']
