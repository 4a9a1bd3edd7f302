# MMSegmentation's augmentation for Cityscapes with its crop size of 769 x 769.
_base_ = './cityscapes.py'

base_size = (2049, 1025)
crop_size = (769, 769)

__recipe = __import__('mmseg_encnet').toolbox_recipe(scale=base_size, crop_size=crop_size)
train_pipeline = __recipe.train_pipeline
test_pipeline = __recipe.test_pipeline
tta_scales = __recipe.tta_scales
tta_pipeline = __recipe.tta_pipeline

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
