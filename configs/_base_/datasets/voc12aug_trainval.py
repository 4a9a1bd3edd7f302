# Second stage of the published VOC schedule: the 11,355 images of SBD train and val with the labels
# of SBD, also where VOC has its own. They include VOC 2012 val images, so the validation score only
# shows that training runs.
_base_ = './voc12aug.py'

train_dataloader = dict(
    dataset=dict(
        data_prefix=dict(seg_map_path='SegmentationClassSBD'),
        ann_file='ImageSets/Segmentation/sbd_trainval.txt',
    )
)
