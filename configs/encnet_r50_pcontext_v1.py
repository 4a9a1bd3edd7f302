_base_ = './encnet_r50_pcontext.py'

# The recipe of PyTorch-Encoding 1.2.0, with the same schedule (RELEASES in
# mmseg_encnet/configuration/recipe.py).
train_pipeline = (
    __import__('mmseg_encnet')
    .published_recipe(base_size=_base_.base_size, crop_size=_base_.crop_size, release='v1.2.0')
    .train_pipeline
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(decode_head=dict(channel_dropout=False), auxiliary_head=dict(channel_dropout=False))
