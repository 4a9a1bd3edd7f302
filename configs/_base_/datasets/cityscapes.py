_base_ = './published.py'

num_classes = 19
data_root = 'data/cityscapes'

# PyTorch-Encoding gives epochs and learning rate for Cityscapes, but neither sizes nor results. The
# recipe is that of release 1.2.0, because the code of 0.5.0 for Cityscapes does not run. The usual
# base size, 520, is close to the long side of Pascal images, as 2048 is to that of Cityscapes.
# DANet, built on the same code and schedule, trains with crops of 768.
base_size = 2048
crop_size = (768, 768)

__package = __import__('mmseg_encnet')
__recipe = __package.published_recipe(
    base_size=base_size,
    crop_size=crop_size,
    release='v1.2.0',
    tta_scales=__package.RELEASES['v1.2.0'].cityscapes_tta_scales,
)
train_pipeline = __recipe.train_pipeline
test_pipeline = __recipe.test_pipeline
tta_scales = __recipe.tta_scales
tta_pipeline = __recipe.tta_pipeline
published_tta_model = dict(base_size=base_size, scales=tta_scales)

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
