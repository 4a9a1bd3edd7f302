# MMSegmentation's augmentation for ADE20K with crops of 37 x 37 patches of 14 pixels.
_base_ = './ade20k.py'

base_size = (2072, 518)
crop_size = (518, 518)

__recipe = __import__('mmseg_encnet').toolbox_recipe(scale=base_size, crop_size=crop_size)
train_pipeline = __recipe.train_pipeline
test_pipeline = __recipe.test_pipeline
tta_pipeline = __recipe.tta_pipeline

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
