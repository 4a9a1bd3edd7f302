# CamVid with the long side at 416 pixels.
_base_ = './camvid.py'

base_size = 416
crop_size = (384, 384)

__recipe = __import__('mmseg_encnet').published_recipe(base_size=base_size, crop_size=crop_size)
train_pipeline = __recipe.train_pipeline
test_pipeline = __recipe.test_pipeline
tta_pipeline = __recipe.tta_pipeline
published_tta_model = dict(base_size=base_size)

# Proportional to share ** (-1 / 3), with the share of the labelled pixels of the training images;
# the mean over these pixels is 1.
class_weight = [0.95, 0.85, 2.4, 0.77, 1.5, 1.1, 2.3, 2.3, 1.3, 2.8, 3.7]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
