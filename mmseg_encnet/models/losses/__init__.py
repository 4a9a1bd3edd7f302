from mmseg_encnet.models.losses.semantic_encoding_loss import (
    SemanticEncodingLoss,
    balanced_pos_weight,
)
from mmseg_encnet.models.losses.sync_cross_entropy_loss import SyncCrossEntropyLoss

__all__ = ['SemanticEncodingLoss', 'SyncCrossEntropyLoss', 'balanced_pos_weight']
