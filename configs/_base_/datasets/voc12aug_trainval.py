# Second stage of the published VOC path: SBD's own train and val, 11,355 images. VOC 2012 val
# images are among them, so the val score only tells that training runs.
_base_ = './voc12aug.py'

train_dataloader = dict(dataset=dict(ann_file='ImageSets/Segmentation/sbd_trainval.txt'))
