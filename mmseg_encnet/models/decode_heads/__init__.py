from mmseg_encnet.models.decode_heads.aux_encoding_head import AuxEncodingHead
from mmseg_encnet.models.decode_heads.aux_fcn_head import AuxFCNHead
from mmseg_encnet.models.decode_heads.encoding_head import EncodingHead
from mmseg_encnet.models.decode_heads.presence_head import PresenceHead
from mmseg_encnet.models.decode_heads.upsampled_loss import (
    UpsampledLossDecodeHead,
    build_upsampled_loss_head,
)

__all__ = [
    'AuxEncodingHead',
    'AuxFCNHead',
    'EncodingHead',
    'PresenceHead',
    'UpsampledLossDecodeHead',
    'build_upsampled_loss_head',
]
