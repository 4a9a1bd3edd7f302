"""Hooks that check training, initialise the dictionary and show the context."""

from mmseg_encnet.running.hooks.codebook_init_hook import CodebookInitHook
from mmseg_encnet.running.hooks.context_sheet_hook import ContextSheetHook
from mmseg_encnet.running.hooks.dictionary_health_hook import DictionaryHealthHook
from mmseg_encnet.running.hooks.feature_cache_hook import FeatureCacheHook
from mmseg_encnet.running.hooks.fit_check_hook import FitCheckHook
from mmseg_encnet.running.hooks.label_check_hook import LabelCheckHook
from mmseg_encnet.running.hooks.loss_check_hook import LossCheckHook
from mmseg_encnet.running.hooks.stall_hook import StallHook
from mmseg_encnet.running.hooks.stop_hook import StopHook
from mmseg_encnet.running.hooks.val_loss_hook import ValLossHook
from mmseg_encnet.running.hooks.visualization_hook import LoadedImageVisualizationHook
from mmseg_encnet.running.hooks.widen_input_hook import WidenInputHook

__all__ = [
    'CodebookInitHook',
    'ContextSheetHook',
    'DictionaryHealthHook',
    'FeatureCacheHook',
    'FitCheckHook',
    'LabelCheckHook',
    'LoadedImageVisualizationHook',
    'LossCheckHook',
    'StallHook',
    'StopHook',
    'ValLossHook',
    'WidenInputHook',
]
