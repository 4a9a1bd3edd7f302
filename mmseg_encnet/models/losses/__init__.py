from .semantic_encoding_loss import SemanticEncodingLoss

__all__ = ['SemanticEncodingLoss']
