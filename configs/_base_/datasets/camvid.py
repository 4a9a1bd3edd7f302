# CamVid has the folders of MSRC-21.
_base_ = './msrc21.py'

num_classes = 11
data_root = 'data/camvid'

base_size = 240
crop_size = (216, 216)

__recipe = __import__('mmseg_encnet').published_recipe(base_size=base_size, crop_size=crop_size)
train_pipeline = __recipe.train_pipeline
test_pipeline = __recipe.test_pipeline
tta_pipeline = __recipe.tta_pipeline
published_tta_model = dict(base_size=base_size)

train_dataloader = dict(
    batch_size=4, dataset=dict(type='CamVidDataset', data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(type='CamVidDataset', data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
