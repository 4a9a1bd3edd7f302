_base_ = './encnet_r18_context-scenes.py'

# EncNet without the encoding, with the same backbone, auxiliary head, width and schedule.
__encnet = _base_.model.decode_head
model = dict(
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=__encnet.in_channels[-1],
        in_index=__encnet.in_index[-1],
        num_convs=1,
        concat_input=False,
        channels=__encnet.channels,
        dropout_ratio=__encnet.dropout_ratio,
        norm_cfg=__encnet.norm_cfg,
        align_corners=__encnet.align_corners,
        num_classes=__encnet.num_classes,
        loss_decode=__encnet.loss_decode,
    )
)
