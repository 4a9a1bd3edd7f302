from .semantic_encoding_loss import SemanticEncodingLoss
from .sync_cross_entropy_loss import SyncCrossEntropyLoss

__all__ = ['SemanticEncodingLoss', 'SyncCrossEntropyLoss']
