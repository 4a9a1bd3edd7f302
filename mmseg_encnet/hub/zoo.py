"""EncNets by the names of a data set and a backbone, with published or own weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

from mmseg.registry import DATASETS as DATASET_REGISTRY
from torch import Tensor

from mmseg_encnet.checkpoints import convert_published_encnet, load_converted
from mmseg_encnet.checkpoints.architecture import Architecture
from mmseg_encnet.checkpoints.shipped_weights import SCHEME, load_shipped_weights
from mmseg_encnet.errors import UserError
from mmseg_encnet.hub import arguments
from mmseg_encnet.hub.catalogue import (
    BACKBONES,
    DATASETS,
    backbone_name,
    config_base,
    dataset_name,
    published_name,
    shipped_name,
)
from mmseg_encnet.hub.encnet import ROOT, EncNet, data_config, shipped_data_config

_DIFFERENT_NETWORK = (
    'choose backbone, aux, se_loss and lateral as in the file, or use a config for a network '
    'with a neck.'
)


def get_encnet(
    dataset: str = 'pascal_voc',
    backbone: str = 'resnet50s',
    pretrained: bool | str | PathLike[str] = False,
    root: str | PathLike[str] = ROOT,
    aux: bool = True,
    se_loss: bool = True,
    lateral: bool | None = None,
    **kwargs: Any,
) -> EncNet:
    """Build the EncNet of a data set and a backbone.

    Args:
        dataset: ``pcontext``, ``ade20k``, ... (see ``mmseg_encnet.hub.catalogue.DATASETS``), or the
            original's name for it. It determines the classes, and ``base_size`` and ``crop_size``
            unless they are given: 520 and 480 except where the data set's config has others.
        backbone: ``resnet50s``, ``resnet101s``, ``resnet152s`` or another one of :class:`EncNet`.
        pretrained: Whether to load the published weights of this pair, or for ``lite0`` those that
            ship with this package, or a checkpoint file of
            any framework that :func:`mmseg_encnet.checkpoints.convert_checkpoint` reads. Without
            it the weights are random, see :class:`EncNet`.
        root: Folder of downloaded and converted files.
        aux: Whether to have the auxiliary head.
        se_loss: Whether to have the SE branch.
        lateral: Whether to have lateral connections. By default the pretrained file decides;
            without a file, they are on with ``lite`` backbones and for the data sets whose
            original names start with ``p``.
        **kwargs: Other arguments of :class:`EncNet`.

    Returns:
        The network, in evaluation mode with pretrained weights, otherwise in training mode.

    Raises:
        UserError: An argument is unknown or impossible, no weights are published for the pair, they
            cannot be fetched, or the file does not fit. Nothing is fetched for a call that is
            wrong.

    Example:
        >>> from mmseg_encnet import get_encnet
        >>> model = get_encnet('pcontext', 'resnet50s', base_size=520, crop_size=480)
        >>> model.nclass, model.dataset_meta['classes'][0]
        (59, 'aeroplane')
    """
    dataset, backbone = dataset_name(dataset), backbone_name(backbone)
    folder, file = arguments.folder(root), arguments.weights_file(pretrained)
    shipped = shipped_name(dataset, backbone) if pretrained is True else None
    name = published_name(dataset, backbone) if pretrained is True and not shipped else None
    base = config_base(dataset, backbone)
    cfg = shipped_data_config(base)
    meta = dict(DATASET_REGISTRY.get(cfg.test_dataloader.dataset.type).METAINFO)
    sizes = dict(base_size=cfg.base_size, crop_size=cfg.crop_size[0])

    state_dict: dict[str, Tensor] | None = None
    if file is not None:
        state_dict = load_converted(file).state_dict
        if lateral is None:
            lateral = any(key.startswith('decode_head.lateral_convs.') for key in state_dict)
    if lateral is None:
        lateral = DATASETS[dataset] or BACKBONES[backbone].kind == 'EfficientNetLite'
    model = EncNet(
        cfg.num_classes, backbone, aux, se_loss, lateral, root=root, **{**sizes, **kwargs}
    )
    model.cfg = data_config(cfg, model.cfg.model, model.base_size, model.crop_size)
    model.dataset_meta = meta

    if name is not None:
        published = Architecture(
            depth=BACKBONES[backbone].depth,
            num_classes=cfg.num_classes,
            lateral=DATASETS[dataset],
        )
        _check_fits(model, published.shapes(), f'the published network {name}', dataset)
        file = convert_published_encnet(name, folder, meta)
        state_dict = load_converted(file).state_dict
    if shipped is not None:
        file = SCHEME + shipped
        state_dict, _ = load_shipped_weights(shipped)
    if state_dict is not None:
        shapes = {key: value.shape for key, value in state_dict.items()}
        kept = _check_fits(model, shapes, f'checkpoint {file}', dataset)
        model.load_state_dict({key: state_dict[key] for key in kept}, strict=True)
        # A runner's init_weights would reinitialise the heads.
        model.is_init = True
        model.cfg.model.backbone.init_cfg = None
        model.eval()
    return model


def get_encnet_resnet50_pcontext(
    pretrained: bool | str | PathLike[str] = False, root: str | PathLike[str] = ROOT, **kwargs: Any
) -> EncNet:
    """Build the published EncNet on ResNet-50 for Pascal Context; see :func:`get_encnet`."""
    return get_encnet('pcontext', 'resnet50s', pretrained, root, **kwargs)


def get_encnet_resnet101_pcontext(
    pretrained: bool | str | PathLike[str] = False, root: str | PathLike[str] = ROOT, **kwargs: Any
) -> EncNet:
    """Build the published EncNet on ResNet-101 for Pascal Context; see :func:`get_encnet`."""
    return get_encnet('pcontext', 'resnet101s', pretrained, root, **kwargs)


def get_encnet_resnet50_ade(
    pretrained: bool | str | PathLike[str] = False, root: str | PathLike[str] = ROOT, **kwargs: Any
) -> EncNet:
    """Build the published EncNet on ResNet-50 for ADE20K; see :func:`get_encnet`."""
    return get_encnet('ade20k', 'resnet50s', pretrained, root, **kwargs)


def get_encnet_resnet101_ade(
    pretrained: bool | str | PathLike[str] = False, root: str | PathLike[str] = ROOT, **kwargs: Any
) -> EncNet:
    """Build the published EncNet on ResNet-101 for ADE20K; see :func:`get_encnet`."""
    return get_encnet('ade20k', 'resnet101s', pretrained, root, **kwargs)


def _check_fits(
    model: EncNet, shapes: Mapping[str, tuple[int, ...]], source: str, dataset: str
) -> list[str]:
    """Return the names in ``shapes`` that the network uses; all of its entries must be among them.

    Heads and branches that the caller switched off may be in the source.

    Raises:
        UserError: The source belongs to another network.
    """
    expected = {key: value.shape for key, value in model.state_dict().items()}
    dropped = ('auxiliary_head.',) * (not model.aux) + ('decode_head.se_layer.',) * (
        not model.se_loss
    )
    found = {key: shape for key, shape in shapes.items() if not key.startswith(dropped)}
    classifier = 'decode_head.conv_seg.weight'
    if classifier in found and found[classifier][0] != model.nclass:
        raise UserError(
            f'{source} has {found[classifier][0]} classes, but {dataset} has {model.nclass}; '
            'name the data set it was trained on.'
        )
    differences = list(_differences(expected, found))
    if differences:
        raise UserError(
            f'{source} belongs to a network other than the requested one: {differences[0]} '
            f'({len(differences)} differences in all); {_DIFFERENT_NETWORK}'
        )
    return list(found)


def _differences(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> Iterator[str]:
    yield from (f'it lacks {key}' for key in expected if key not in found)
    yield from (f'it has {key}' for key in found if key not in expected)
    for key, shape in found.items():
        if key in expected and shape != expected[key]:
            yield f'its {key} has shape {tuple(shape)} instead of {tuple(expected[key])}'
