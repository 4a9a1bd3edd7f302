"""Entry points of torch.hub: ``torch.hub.load(REPOSITORY, NAME)``.

The toolbox has to be installed (docs/install.md); this package need not be. Every entry point
returns an :class:`mmseg_encnet.EncNet`.
"""

from __future__ import annotations

from typing import Any

dependencies = ['torch', 'numpy', 'mmcv', 'mmengine', 'mmseg', 'matplotlib', 'cv2', 'pooch']


# The package is imported by the functions, so that torch.hub can list them and report what is
# missing without it.
def encnet(*args: Any, **kwargs: Any) -> Any:
    """Build the EncNet of a data set and a backbone; see `mmseg_encnet.get_encnet`."""
    from mmseg_encnet import get_encnet

    return get_encnet(*args, **kwargs)


def encnet_r50_pcontext(pretrained: bool = False, **kwargs: Any) -> Any:
    """Build the published EncNet on ResNet-50 for Pascal Context (59 classes)."""
    return encnet('pcontext', 'resnet50s', pretrained, **kwargs)


def encnet_r101_pcontext(pretrained: bool = False, **kwargs: Any) -> Any:
    """Build the published EncNet on ResNet-101 for Pascal Context (59 classes)."""
    return encnet('pcontext', 'resnet101s', pretrained, **kwargs)


def encnet_r50_ade20k(pretrained: bool = False, **kwargs: Any) -> Any:
    """Build the published EncNet on ResNet-50 for ADE20K (150 classes)."""
    return encnet('ade20k', 'resnet50s', pretrained, **kwargs)


def encnet_r101_ade20k(pretrained: bool = False, **kwargs: Any) -> Any:
    """Build the published EncNet on ResNet-101 for ADE20K (150 classes)."""
    return encnet('ade20k', 'resnet101s', pretrained, **kwargs)


def encnet_lite0_msrc21(pretrained: bool = True, **kwargs: Any) -> Any:
    """Build the EncNet on EfficientNet-Lite0 for MSRC-21 whose weights ship with the package."""
    return encnet('msrc21', 'lite0', pretrained, **kwargs)


def encnet_lite0_clothing(pretrained: bool = True, **kwargs: Any) -> Any:
    """Build the EncNet on EfficientNet-Lite0 for garments whose weights ship with the package."""
    return encnet('clothing', 'lite0', pretrained, **kwargs)


def encnet_lite2_msrc21(pretrained: bool = True, **kwargs: Any) -> Any:
    """Build the EncNet on EfficientNet-Lite2 for MSRC-21 whose weights ship with the package."""
    return encnet('msrc21', 'lite2', pretrained, **kwargs)


def encnet_lite2_clothing(pretrained: bool = True, **kwargs: Any) -> Any:
    """Build the EncNet on EfficientNet-Lite2 for garments whose weights ship with the package."""
    return encnet('clothing', 'lite2', pretrained, **kwargs)


def encnet_from_hub(source: str, **kwargs: Any) -> Any:
    """Load an EncNet from the Hugging Face Hub or a folder; see `EncNet.from_pretrained`."""
    from mmseg_encnet import EncNet

    return EncNet.from_pretrained(source, **kwargs)
