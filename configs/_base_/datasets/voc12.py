_base_ = './published.py'

num_classes = 21
data_root = 'data/VOCdevkit/VOC2012'

# The original pads labels with 0 before it maps them. Here 0 is the background, so the padding is
# trained as background; only the void border (255) is ignored.
__load, __annotate, __resize, __pad, *__rest = _base_.train_pipeline
train_pipeline = [__load, __annotate, __resize, dict(__pad, pad_val=dict(img=0, seg=0)), *__rest]

# The published path ends on train and val together, because its figure comes from the test server;
# the val score measured along the way is of images trained on.
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
