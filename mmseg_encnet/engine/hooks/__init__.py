from .codebook_init_hook import CodebookInitHook
from .context_sheet_hook import ContextSheetHook
from .dictionary_health_hook import DictionaryHealthHook
from .loss_check_hook import LossCheckHook
from .resumable_checkpoint_hook import ResumableCheckpointHook

__all__ = [
    'CodebookInitHook', 'ContextSheetHook', 'DictionaryHealthHook', 'LossCheckHook',
    'ResumableCheckpointHook'
]
