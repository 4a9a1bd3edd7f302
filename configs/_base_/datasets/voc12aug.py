# The 10,582 training images of the paper (section 4.2): VOC 2012 train and the SBD images outside
# VOC 2012 val, with all labels in one folder. No validation image is trained on.
_base_ = './voc12.py'

train_dataloader = dict(
    dataset=dict(
        data_prefix=dict(seg_map_path='SegmentationClassAug'),
        ann_file='ImageSets/Segmentation/trainaug.txt',
    )
)
