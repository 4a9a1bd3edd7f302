"""A ready EncNet from the names of a data set and a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmseg.models import BaseSegmentor
from mmseg.registry import DATASETS as DATASET_REGISTRY
from torch import Tensor

from mmseg_encnet.checkpoints import convert_published_encnet, load_converted
from mmseg_encnet.checkpoints.architecture import Architecture, build
from mmseg_encnet.checkpoints.pytorch_encoding import ENCNET_SHA1
from mmseg_encnet.configuration.shipped import config_dir
from mmseg_encnet.errors import UserError

# Data sets by the name of their config base, and whether the original has lateral connections.
DATASETS = {
    'pcontext': True,
    'pcontext60': True,
    'voc12': True,
    'voc12aug': True,
    'ade20k': False,
    'cityscapes': False,
    'coco21': False,
    'cocostuff164k': False,
    'camvid': False,
    'msrc21': False,
}
BACKBONES = {'resnet50s': 50, 'resnet101s': 101, 'resnet152s': 152}
# The original's names of data sets, and the backbones as the configs call them.
ALIASES = {
    'pascal_voc': 'voc12',
    'pascal_aug': 'voc12aug',
    'citys': 'cityscapes',
    'coco': 'coco21',
    'r50': 'resnet50s',
    'r101': 'resnet101s',
    'r152': 'resnet152s',
}
# The published networks, and the sizes of one of them that differ from its data set's.
_PUBLISHED = {
    (dataset, backbone): f'encnet_{backbone}_{acronym}'
    for dataset, acronym in (('pcontext', 'pcontext'), ('ade20k', 'ade'))
    for backbone in ('resnet50s', 'resnet101s')
}
_BASES = {('ade20k', 'resnet101s'): 'ade20k_576'}


def get_encnet(
    dataset: str,
    backbone: str,
    pretrained: bool | str | Path = False,
    root: str | Path | None = None,
    aux: bool = True,
    se_loss: bool = True,
    lateral: bool | None = None,
    **overrides: Any,
) -> BaseSegmentor:
    """Build the EncNet of a data set and a backbone, as PyTorch-Encoding's function of that name.

    Args:
        dataset: ``pcontext``, ``ade20k``, ... (see ``DATASETS``), or the original's name for it.
            It decides the number of classes, the crop and the names of the classes.
        backbone: ``resnet50s``, ``resnet101s`` or ``resnet152s``.
        pretrained: Whether to load the published weights of this pair, or a checkpoint file of
            any framework that :func:`mmseg_encnet.checkpoints.convert_checkpoint` reads. Without
            it the weights are random, and ``model.init_weights()`` loads those of ImageNet into
            the backbone.
        root: Folder for what is downloaded and converted; a folder in the toolbox's cache if not
            given.
        aux: Whether to have the auxiliary head.
        se_loss: Whether to have the SE branch.
        lateral: Whether to have lateral connections. If not given, as the pretrained file has
            them; without a file, as the original has them for the data set.
        **overrides: Changes to the config of the segmentor, e.g.
            ``decode_head=dict(num_codes=64)``; of the backbone, as
            ``**{'backbone.with_cp': True}``.

    Returns:
        The segmentor, with its config at ``cfg`` and the class names at ``dataset_meta``, as the
        toolbox's ``inference_model`` expects them. It is in evaluation mode with pretrained
        weights, else in training mode. Its norm layers are plain batch norm; a runner of several
        processes makes them ``SyncBatchNorm`` with ``sync_bn='torch'``.

    Raises:
        UserError: If a name is unknown, no weights are published for the pair, they cannot be
            fetched, or the file does not fit.
    """
    dataset = _known(dataset, DATASETS, 'data set')
    backbone = _known(backbone, BACKBONES, 'backbone')
    cfg = Config.fromfile(
        config_dir() / '_base_' / 'datasets' / f'{_BASES.get((dataset, backbone), dataset)}.py'
    )
    dataset_meta = DATASET_REGISTRY.get(cfg.test_dataloader.dataset.type).METAINFO

    state_dict: dict[str, Tensor] | None = None
    if pretrained is not False:
        path = (
            _published(dataset, backbone, root, dataset_meta)
            if pretrained is True
            else Path(pretrained)
        )
        state_dict = load_converted(path).state_dict
        if lateral is None:
            lateral = _has(state_dict, 'decode_head.lateral_convs.')
    if lateral is None:
        lateral = DATASETS[dataset]

    cfg.model = Architecture(
        depth=BACKBONES[backbone],
        num_classes=cfg.num_classes,
        lateral=lateral,
        se_loss=se_loss,
        aux=aux,
    ).model_config()
    _adapt(cfg, overrides)
    if state_dict is not None:
        cfg.model.backbone.init_cfg = None
    model = build(cfg.model)
    model.cfg, model.dataset_meta = cfg, dict(dataset_meta)
    if state_dict is not None:
        _load(model, state_dict, path, dataset)
        # Or a runner's init_weights would start the heads over.
        model.is_init = True
        model.eval()
    return model


def _known(name: str, known: Mapping[str, Any], kind: str) -> str:
    found = ALIASES.get(str(name).lower(), str(name).lower())
    if found not in known:
        raise UserError(f'{kind} {name!r} came; EncNets are there for {", ".join(known)}.')
    return found


def _adapt(cfg: Config, overrides: Mapping[str, Any]) -> None:
    """Fit the model to the data set's crop and to one process, then apply the user's changes."""
    model = cfg.model
    model.data_preprocessor.size = cfg.crop_size
    model.test_cfg.update(
        crop_size=cfg.crop_size, stride=tuple(side * 2 // 3 for side in cfg.crop_size)
    )
    for part in ('backbone', 'decode_head', 'auxiliary_head'):
        if part in model:
            model[part].norm_cfg = dict(type='BN')
    unknown = [key for key in overrides if key.split('.')[0] not in model]
    if unknown:
        raise UserError(
            f'{unknown[0]}={overrides[unknown[0]]!r} came, the config of the segmentor '
            f'has {", ".join(model)}; write a change as '
            'decode_head=dict(num_codes=64).'
        )
    cfg.merge_from_dict({f'model.{key}': value for key, value in overrides.items()})


def _published(
    dataset: str, backbone: str, root: str | Path | None, dataset_meta: Mapping[str, Any]
) -> Path:
    name = _PUBLISHED.get((dataset, backbone))
    if name in ENCNET_SHA1:
        return convert_published_encnet(name, None if root is None else Path(root), dataset_meta)
    pairs = ', '.join(f'{pair[0]} with {pair[1]}' for pair in _PUBLISHED)
    if dataset == 'cityscapes':
        depth = min(BACKBONES[backbone], 101)
        nearest = (
            f"MMSegmentation's own, for the config encnet_r{depth}v1c_cityscapes, whose "
            'address configs/metafile.yml gives'
        )
    else:
        other = dataset if dataset in ('pcontext', 'ade20k') else 'pcontext'
        near_backbone = backbone if (other, backbone) in _PUBLISHED else 'resnet101s'
        nearest = f'get_encnet({other!r}, {near_backbone!r}, pretrained=True)'
    raise UserError(
        f'no EncNet weights are published for {dataset} with {backbone}, only for '
        f'{pairs}; what comes nearest is {nearest}; a file of your own goes in as '
        'pretrained=PATH.'
    )


def _load(model: BaseSegmentor, state_dict: dict[str, Tensor], path: Path, dataset: str) -> None:
    expected = model.state_dict()
    # Parts that were asked to be left out may be in the file.
    dropped = ('auxiliary_head.',) * (not model.with_auxiliary_head)
    dropped += ('decode_head.se_layer.',) * (not model.decode_head.use_se_loss)
    state_dict = {key: value for key, value in state_dict.items() if not key.startswith(dropped)}
    classifier = 'decode_head.conv_seg.weight'
    if classifier in state_dict and len(state_dict[classifier]) != len(expected[classifier]):
        raise UserError(
            f'checkpoint {path} is for {len(state_dict[classifier])} classes, '
            f'{dataset} has {len(expected[classifier])}; name the data set it was '
            'trained on.'
        )
    wrong = [f'it lacks {key}' for key in expected if key not in state_dict]
    wrong += [f'it has {key}' for key in state_dict if key not in expected]
    wrong += [
        f'its {key} has shape {tuple(value.shape)} instead of {tuple(expected[key].shape)}'
        for key, value in state_dict.items()
        if key in expected and value.shape != expected[key].shape
    ]
    if wrong:
        raise UserError(
            f'checkpoint {path} is of another network than the one asked for: '
            f'{wrong[0]} ({len(wrong)} such differences); choose backbone, aux, '
            'se_loss and lateral as the file has them, or for a network with a neck '
            'take its config.'
        )
    model.load_state_dict(state_dict, strict=True)


def _has(state_dict: Mapping[str, Tensor], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in state_dict)
