_base_ = './published.py'

num_classes = 21
data_root = 'data/msrc21'

# The photographs are about 320 pixels wide. At half that size, with crops in proportion to the
# published ones, two CPU cores are enough for training.
base_size = 160
crop_size = (144, 144)

__recipe = __import__('mmseg_encnet').published_recipe(base_size=base_size, crop_size=crop_size)
train_pipeline = __recipe.train_pipeline
test_pipeline = __recipe.test_pipeline
tta_pipeline = __recipe.tta_pipeline
published_tta_model = dict(base_size=base_size)

train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        type='MSRC21Dataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        type='MSRC21Dataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
