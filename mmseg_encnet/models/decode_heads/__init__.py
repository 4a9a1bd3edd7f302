from mmseg_encnet.models.decode_heads.aux_fcn_head import AuxFCNHead
from mmseg_encnet.models.decode_heads.encoding_head import EncodingHead

__all__ = ['AuxFCNHead', 'EncodingHead']
