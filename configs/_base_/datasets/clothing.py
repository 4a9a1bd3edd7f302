# Clothing Co-Parsing has the folders of MSRC-21.
_base_ = './msrc21.py'

num_classes = 31
data_root = 'data/clothing'

# The photographs are 400 pixels wide and about 605 high.
base_size = 320
crop_size = (288, 288)

__recipe = __import__('mmseg_encnet').published_recipe(base_size=base_size, crop_size=crop_size)
train_pipeline = __recipe.train_pipeline
test_pipeline = __recipe.test_pipeline
tta_pipeline = __recipe.tta_pipeline
published_tta_model = dict(base_size=base_size)

train_dataloader = dict(
    dataset=dict(type='ClothingDataset', data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(type='ClothingDataset', data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
