_base_ = './published.py'

num_classes = 19
data_root = 'data/cityscapes'

# PyTorch-Encoding gives epochs and learning rate for Cityscapes, but neither sizes nor results. Its
# base size of 520 is close to the size of Pascal images, as 2048 is to that of Cityscapes. DANet,
# built on the same code and schedule, trains with crops of 768.
base_size = 2048
crop_size = (768, 768)

__recipe = __import__('mmseg_encnet').published_recipe(base_size=base_size, crop_size=crop_size)
train_pipeline = __recipe.train_pipeline
test_pipeline = __recipe.test_pipeline
tta_pipeline = __recipe.tta_pipeline
published_tta_model = dict(base_size=base_size)

train_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset',
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset',
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
