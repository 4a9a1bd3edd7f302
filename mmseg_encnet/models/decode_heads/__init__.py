from mmseg_encnet.models.decode_heads.aux_encoding_head import AuxEncodingHead
from mmseg_encnet.models.decode_heads.aux_fcn_head import AuxFCNHead
from mmseg_encnet.models.decode_heads.encoding_head import EncodingHead

__all__ = ['AuxEncodingHead', 'AuxFCNHead', 'EncodingHead']
