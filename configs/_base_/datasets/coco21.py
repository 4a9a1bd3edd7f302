# COCO 2017 with the 21 classes of VOC, first stage of the published VOC schedule: images with more
# than 1,000 labelled pixels. Other pixels are background, and so is padding, as in voc12.py.
_base_ = './voc12.py'

data_root = 'data/coco'

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        data_prefix=dict(img_path='train2017', seg_map_path='voc21/train2017'),
        ann_file='voc21/train2017.txt',
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        data_prefix=dict(img_path='val2017', seg_map_path='voc21/val2017'),
        ann_file='voc21/val2017.txt',
    )
)
test_dataloader = val_dataloader
