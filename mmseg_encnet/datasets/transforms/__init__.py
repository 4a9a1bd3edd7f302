from mmseg_encnet.datasets.transforms.channelwise_resize import ChannelwiseResize
from mmseg_encnet.datasets.transforms.load_image_from_tiff import LoadImageFromTIFF
from mmseg_encnet.datasets.transforms.random_gaussian_blur import RandomGaussianBlur
from mmseg_encnet.datasets.transforms.random_short_side_resize import RandomShortSideResize
from mmseg_encnet.datasets.transforms.resize_and_crop import ResizeAndCrop

__all__ = [
    'ChannelwiseResize',
    'LoadImageFromTIFF',
    'RandomGaussianBlur',
    'RandomShortSideResize',
    'ResizeAndCrop',
]
