# The published augmentation with crops of 37 x 37 patches of 14 pixels.
_base_ = './pcontext.py'

base_size = 560
crop_size = (518, 518)

__recipe = __import__('mmseg_encnet').published_recipe(
    base_size=base_size, crop_size=crop_size, release='v0.5.0'
)
train_pipeline = __recipe.train_pipeline
test_pipeline = __recipe.test_pipeline
tta_pipeline = __recipe.tta_pipeline
published_tta_model = dict(base_size=base_size)

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
