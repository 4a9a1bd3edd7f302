from .aux_fcn_head import AuxFCNHead
from .encoding_head import EncodingHead

__all__ = ['AuxFCNHead', 'EncodingHead']
