# The 59 classes, with the background as a 60th. Padding is still ignored: PyTorch-Encoding does not
# train with 60 classes, and a black border does not look like background.
_base_ = './pcontext.py'

num_classes = 60

train_dataloader = dict(dataset=dict(type='PascalContextDataset'))
val_dataloader = dict(dataset=dict(type='PascalContextDataset'))
test_dataloader = val_dataloader
