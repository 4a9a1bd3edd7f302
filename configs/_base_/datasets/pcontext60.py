# The 59 classes and the background as a class of its own. Padding stays ignored: the original has
# no training with 60 classes to follow, and a black border is no background.
_base_ = './pcontext.py'

num_classes = 60

train_dataloader = dict(dataset=dict(type='PascalContextDataset'))
val_dataloader = dict(dataset=dict(type='PascalContextDataset'))
test_dataloader = val_dataloader
