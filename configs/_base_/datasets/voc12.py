_base_ = './published.py'

num_classes = 21
data_root = 'data/VOCdevkit/VOC2012'

# PyTorch-Encoding pads labels with 0, which is the background class of VOC. Padding is therefore
# trained as background, and only the void border (255) is ignored.
train_pipeline = (
    __import__('mmseg_encnet')
    .published_recipe(
        base_size=_base_.base_size,
        crop_size=_base_.crop_size,
        padding_label=0,
        release='v0.5.0',
    )
    .train_pipeline
)

# The last published stage trains on train and val together, because its result comes from the test
# server. The validation score is therefore measured on training images.
train_dataloader = dict(
    dataset=dict(
        type='PascalVOCDataset',
        data_root=data_root,
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/trainval.txt',
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type='PascalVOCDataset',
        data_root=data_root,
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/val.txt',
    )
)
test_dataloader = val_dataloader
