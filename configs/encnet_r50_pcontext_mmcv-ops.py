# The head on mmcv's CUDA operators: assign_score_withk for the sum over the positions, MMSyncBN for
# its norms, the one over the codewords included. It needs a GPU and mmcv's compiled operators, both
# checked before training. docs/performance.md states what it costs.
_base_ = './encnet_r50_pcontext.py'

model = dict(
    decode_head=dict(encoder=dict(backend='mmcv'), norm_cfg=dict(_delete_=True, type='MMSyncBN'))
)
