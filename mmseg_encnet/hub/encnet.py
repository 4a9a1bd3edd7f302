"""EncNet as a class with the arguments, outputs and attributes of the original class.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, as PyTorch-Encoding's
``encoding.models.sseg.EncNet`` implements it. The network is the toolbox's, with its state-dict
keys; a call with a single tensor returns what the original returns.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import itertools
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.utils import OptSampleList
from torch import Tensor, nn

from mmseg_encnet.checkpoints.architecture import Architecture
from mmseg_encnet.configuration.shipped import config_dir
from mmseg_encnet.errors import UserError, first_line
from mmseg_encnet.hub import arguments
from mmseg_encnet.hub.catalogue import BACKBONES, backbone_name
from mmseg_encnet.hub.huggingface import pretrained_folder, push_to_hub
from mmseg_encnet.hub.model_card import Card
from mmseg_encnet.hub.pretrained import save_pretrained
from mmseg_encnet.models.labels import both_scores, label_pixels
from mmseg_encnet.models.segmentors import ContextEncoderDecoder
from mmseg_encnet.predicting import load_segmentor

ROOT = '~/.encoding/models'
_BASE_SIZE, _CROP_SIZE = 520, 480
_STATISTICS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LITE_STATISTICS = (127 / 255,) * 3, (128 / 255,) * 3
_UP_KWARGS = dict(mode='bilinear', align_corners=True)


@MODELS.register_module()
class EncNet(ContextEncoderDecoder):
    """EncNet of PyTorch-Encoding, as a segmentor of the toolbox.

    ``model(x)`` with a normalised RGB batch ``x`` of shape ``(B, 3, H, W)`` returns the tuple
    ``(logits, se, aux)``: ``logits`` and ``aux`` are class scores ``(B, nclass, H, W)``, ``se`` are
    presence logits ``(B, nclass)``. The tuple omits ``se`` without ``se_loss`` and ``aux`` without
    ``aux``. Calls with data samples (``mode='loss'``, ``'predict'`` and ``'tensor'``) do what they
    do for every segmentor; so do runners and ``inference_model``.

    Unlike the original, the constructor downloads nothing: the weights are random until
    ``model.init_weights()``, which a runner calls itself, loads ImageNet weights into the backbone.

    Args:
        nclass: Number of classes, at least 2.
        backbone: ``resnet50s``, ``resnet101s`` or ``resnet152s`` with the 64-64-128 stem of the
            published networks; ``resnet50``, ``resnet101`` or ``resnet152`` with a 7x7 stem;
            ``lite0``, ``lite1`` or ``lite2`` for an :class:`EfficientNetLite`, whose first stages
            are frozen, with heads of half the width.
        aux: Whether to have the auxiliary FCN head on stage 3.
        se_loss: Whether to have the SE branch.
        lateral: Whether to have lateral connections.
        norm_layer: ``torch.nn.SyncBatchNorm``, which is plain batch norm in a single process, or
            ``torch.nn.BatchNorm2d``.
        dilated: Whether stages 3 and 4 are dilated, so that features have an eighth of the image's
            size, with ``lite`` a 16th; otherwise a 32nd.
        base_size: Long side of images at scale 1 of the evaluation, in pixels.
        crop_size: Side of the windows in pixels, at least 8.
        mean, std: Statistics of RGB values from 0 to 1, by which images are normalised. Default:
            those of the ImageNet weights.
        root: Folder that keeps the ImageNet weights of ``resnet50s``, ``resnet101s`` and
            ``resnet152s``.
        up_kwargs: How scores are enlarged: ``dict(mode='bilinear', align_corners=...)``.
        **overrides: Changes to the config of the segmentor, e.g. ``decode_head=dict(num_codes=64)``
            or, for the backbone, ``**{'backbone.with_cp': True}``.

    Attributes:
        cfg: Config with the pipelines and ``model``, from which the toolbox's ``init_model`` builds
            a :class:`ContextEncoderDecoder` with the same state-dict keys.
        dataset_meta: Names and colours of the classes.

    Raises:
        UserError: An argument is unknown or impossible.

    Example:
        >>> import torch
        >>> from mmseg_encnet import EncNet
        >>> model = EncNet(59, 'resnet50s', lateral=True).eval()
        >>> with torch.no_grad():
        ...     logits, se, aux = model(torch.rand(1, 3, 64, 96))
        >>> logits.shape, se.shape, aux.shape
        (torch.Size([1, 59, 64, 96]), torch.Size([1, 59]), torch.Size([1, 59, 64, 96]))
    """

    def __init__(
        self,
        nclass: int,
        backbone: str,
        aux: bool = True,
        se_loss: bool = True,
        lateral: bool = False,
        norm_layer: type[nn.Module] = nn.SyncBatchNorm,
        *,
        dilated: bool = True,
        base_size: int = _BASE_SIZE,
        crop_size: int = _CROP_SIZE,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        root: str | PathLike[str] = ROOT,
        up_kwargs: Mapping[str, Any] = _UP_KWARGS,
        **overrides: Any,
    ) -> None:
        arguments.check_switches(aux=aux, se_loss=se_loss, lateral=lateral, dilated=dilated)
        arguments.folder(root)
        nclass = arguments.check_size('nclass', nclass, 2)
        base_size = arguments.check_size('base_size', base_size)
        crop_size = arguments.check_crop_size(crop_size)
        kind = BACKBONES[backbone_name(backbone)]
        lite = kind.kind == 'EfficientNetLite'
        default_mean, default_std = _LITE_STATISTICS if lite else _STATISTICS
        mean = arguments.channel_values('mean', default_mean if mean is None else mean, 0)
        std = arguments.channel_values('std', default_std if std is None else std, 1e-3)
        norm_cfg = arguments.norm_config(norm_layer)
        aligned = arguments.align_corners(up_kwargs)

        model = Architecture(
            depth=kind.depth,
            num_classes=nclass,
            lateral=lateral,
            se_loss=se_loss,
            aux=aux,
            backbone=kind.kind,
        ).model_config()
        model.backbone.init_cfg = dict(
            type='Pretrained', checkpoint=kind.weights.format(root=str(root).rstrip('/'))
        )
        if not dilated and lite:
            model.backbone.output_stride = 32
        elif not dilated:
            model.backbone.update(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1))
        for part in ('backbone', 'decode_head', 'auxiliary_head'):
            if part in model:
                model[part].norm_cfg = norm_cfg
        for part in ('decode_head', 'auxiliary_head'):
            if part in model:
                model[part].align_corners = aligned
        model.data_preprocessor.update(
            mean=[255 * value for value in mean],
            std=[255 * value for value in std],
            size=(crop_size, crop_size),
        )
        _set_windows(model.test_cfg, crop_size)
        # The toolbox's inference builds its pipeline in the scope of the process.
        init_default_scope('mmseg')
        try:
            model = _merge(model, overrides)
            super().__init__(**{key: value for key, value in model.items() if key != 'type'})
        except UserError:
            raise
        except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f'the network cannot be built as configured: {first_line(error)}'
            ) from error
        self.base_size = base_size
        self.mean, self.std = mean, std
        self.cfg = data_config(
            shipped_data_config('published.py'), model, base_size, self.crop_size
        )
        self.dataset_meta = _anonymous_classes(nclass)

    @classmethod
    def from_pretrained(cls, source: str | PathLike[str], **options: Any) -> EncNet:
        """Load an EncNet from the Hugging Face Hub or a folder; nothing in it is run.

        Args:
            source: Name of a repository, or a folder.
            **options: ``revision``, ``token``, ``endpoint`` and ``cache_dir`` of
                :func:`mmseg_encnet.hub.from_pretrained`.

        Returns:
            The network in evaluation mode, on the CPU.

        Raises:
            UserError: The source cannot be read, or is another network.
        """
        found = pretrained_folder(source, **options)
        cfg = found.cfg
        names = [cfg.model.type, cfg.model.decode_head.get('type')]
        plain = [str(name).removeprefix('mmseg.') for name in names]
        if (
            plain[0] not in ('EncoderDecoder', 'ContextEncoderDecoder')
            or plain[1] != 'EncodingHead'
        ):
            raise UserError(
                f'{source} is a {names[0]} with {names[1]}, not an EncNet; load it with '
                'mmseg_encnet.hub.from_pretrained.'
            )
        trained = load_segmentor(cfg, str(found.weights), 'cpu').model
        model = cls.__new__(cls)
        # The class differs from what a config builds in its methods only.
        ContextEncoderDecoder.__init__(
            model, **{key: value for key, value in cfg.model.items() if key != 'type'}
        )
        model.load_state_dict(trained.state_dict())
        preprocessor = model.data_preprocessor
        model.mean, model.std = (
            [value / 255 for value in statistics.flatten().tolist()]
            for statistics in (preprocessor.mean, preprocessor.std)
        )
        # Configs with the toolbox's augmentation have two sides, or predict the whole image.
        base_size, crop_size = cfg.get('base_size'), cfg.get('crop_size')
        model.base_size = base_size if isinstance(base_size, int) else _BASE_SIZE
        if 'crop_size' not in model.test_cfg:
            model.crop_size = crop_size[0] if crop_size else _CROP_SIZE
        model.cfg, model.dataset_meta = cfg, trained.dataset_meta
        # A runner's init_weights would reinitialise the heads.
        model.is_init = True
        return model.eval()

    def save_pretrained(self, folder: str | PathLike[str], card: Card | None = None) -> None:
        """Write config, weights and model card; see :func:`mmseg_encnet.hub.save_pretrained`."""
        save_pretrained(self, folder, card)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish the network; see :func:`mmseg_encnet.hub.push_to_hub`."""
        return push_to_hub(self, repo_id, **options)

    @property
    def nclass(self) -> int:
        """Number of classes."""
        return self.num_classes

    @property
    def aux(self) -> bool:
        """Whether there is an auxiliary head."""
        return self.with_auxiliary_head

    @property
    def se_loss(self) -> bool:
        """Whether there is an SE branch."""
        return self.decode_head.use_se_loss

    @property
    def pretrained(self) -> nn.Module:
        """The backbone, under the original's name."""
        return self.backbone

    @property
    def head(self) -> nn.Module:
        """The decode head, under the original's name."""
        return self.decode_head

    @property
    def auxlayer(self) -> nn.Module:
        """The auxiliary head, under the original's name; missing if there is none."""
        return self.auxiliary_head

    @property
    def crop_size(self) -> int:
        """Side of the evaluation's windows in pixels; can be set, and the stride follows."""
        return self.test_cfg.crop_size[0]

    @crop_size.setter
    def crop_size(self, value: int) -> None:
        _set_windows(self.test_cfg, arguments.check_crop_size(value))

    def base_forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the features of the backbone's four stages."""
        return tuple(self.backbone(x))

    def evaluate(
        self, x: Tensor, target: Tensor | None = None
    ) -> Tensor | tuple[np.integer, np.integer, np.ndarray, np.ndarray]:
        """Return the class scores, or what pixel accuracy and mIoU are computed from.

        Args:
            x: Normalised RGB images ``(B, 3, H, W)``.
            target: Labels ``(B, H, W)``, integers. Negative labels and those of ``nclass`` or more
                are ignored.

        Returns:
            Without ``target`` the logits ``(B, nclass, H, W)``. Otherwise the numbers of correct
            and of labelled pixels, and the intersection and union of each class ``(nclass,)``.
        """
        logits = self(x)[0]
        if target is None:
            return logits
        if target.shape != (len(x), *x.shape[2:]):
            raise UserError(
                f'got target of shape {tuple(target.shape)}, expected '
                f'{(len(x), *x.shape[2:])}; pass a label for each pixel of x.'
            )
        scores = both_scores(logits, self.decode_head.threshold)
        predicted, target = label_pixels(scores)[:, 0].cpu(), target.cpu().long()
        labelled = (target >= 0) & (target < self.nclass)
        predicted, target = predicted[labelled], target[labelled]
        inter, *areas = (
            torch.bincount(labels, minlength=self.nclass).numpy()
            for labels in (target[predicted == target], predicted, target)
        )
        return inter.sum(), np.int64(len(target)), inter, sum(areas) - inter

    def _forward(self, inputs: Tensor, data_samples: OptSampleList = None) -> Any:
        if data_samples is not None:
            return super()._forward(inputs, data_samples)
        if inputs.dim() != 4:
            raise UserError(
                f'got an input of shape {tuple(inputs.shape)}, expected (B, 3, H, W); add the '
                'batch dimension with x[None].'
            )
        features = self.extract_feat(inputs)
        output = self.decode_head.forward_context(features)
        results = [self._enlarge(output.seg_logits, inputs)]
        if self.se_loss:
            results.append(output.se_logits)
        if self.aux:
            results.append(self._enlarge(self.auxiliary_head(features), inputs))
        return tuple(results)

    def _enlarge(self, scores: Tensor, inputs: Tensor) -> Tensor:
        return resize(
            scores,
            size=inputs.shape[2:],
            mode='bilinear',
            align_corners=self.align_corners,
            warning=False,
        )


def shipped_data_config(base: str) -> Config:
    """Return a shipped config of a data set, by its file name."""
    return Config.fromfile(config_dir() / '_base_' / 'datasets' / base)


def data_config(data: Config, model: ConfigDict, base_size: int, crop_size: int) -> Config:
    """Return the config of a data set with a network and its sizes.

    Args:
        data: Config of the data set.
        model: Config of the segmentor.
        base_size, crop_size: As of :class:`EncNet`.
    """
    cfg = copy.deepcopy(data)
    cfg.model, cfg.default_scope = model, 'mmseg'
    cfg.base_size, cfg.crop_size = base_size, (crop_size,) * 2
    cfg.published_tta_model.base_size = base_size
    pipelines = [cfg.train_pipeline, cfg.test_pipeline]
    pipelines += [cfg[f'{split}_dataloader'].dataset.pipeline for split in ('train', 'val', 'test')]
    for step in itertools.chain(*pipelines):
        if step.type in ('Resize', 'RandomResize'):
            step.scale = (base_size,) * 2
        elif step.type == 'RandomShortSideResize':
            step.base_size = base_size
        elif step.type == 'Pad':
            step.size = cfg.crop_size
        elif step.type == 'RandomCrop':
            step.crop_size = cfg.crop_size
    for options in (step.transforms for step in cfg.tta_pipeline if step.type == 'TestTimeAug'):
        resizing = [step for steps in options for step in steps if step.type == 'Resize']
        for step, scale in zip(resizing, cfg.tta_scales):
            step.scale = (math.ceil(base_size * scale),) * 2
    return cfg


def _set_windows(test_cfg: ConfigDict, crop_size: int) -> None:
    """Set windows of the crop size with a stride of two thirds of it, as published."""
    test_cfg.update(crop_size=(crop_size,) * 2, stride=(crop_size * 2 // 3,) * 2)


def _merge(model: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    parts = [key for key in model if key != 'type']
    for key, value in overrides.items():
        if key.split('.')[0] not in parts:
            names = [name for name in inspect.signature(EncNet).parameters if name != 'overrides']
            close = difflib.get_close_matches(key, [*names, *parts], n=1)
            hint = f' (did you mean {close[0]}?)' if close else ''
            raise UserError(
                f'unknown argument {key}={value!r}{hint}; pass {", ".join(names)}, or a change to '
                f'the config of {", ".join(parts)}, such as decode_head=dict(num_codes=64).'
            )
    cfg = Config(dict(model=model))
    cfg.merge_from_dict({f'model.{key}': value for key, value in overrides.items()})
    return cfg.model


def _anonymous_classes(nclass: int) -> dict[str, Any]:
    colours = np.random.default_rng(0).integers(0, 256, (nclass, 3))
    return dict(
        classes=tuple(f'class {index}' for index in range(nclass)), palette=colours.tolist()
    )
