"""Model cards: what a network was trained on, how well it does, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from mmseg.models import BaseSegmentor

from mmseg_encnet.models.decode_heads import EncodingHead
from mmseg_encnet.version import __version__

_TASK = 'image-segmentation'
_PAPER = 'https://arxiv.org/abs/1803.08904'


@dataclass(frozen=True)
class Metric:
    """A result on the evaluated data.

    Attributes:
        kind: Identifier of the metric for the hub, such as ``mean_iou``.
        name: Its usual name.
        value: In percent.
        interval: 95 % interval under resampling of the images, or None.
    """

    kind: str
    name: str
    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Card:
    """Content of a model card.

    Attributes:
        name: Title.
        sections: Markdown by heading.
        license: Identifier of the licence of the weights, as the hub has it.
        dataset: Identifier of the data set, empty if unknown.
        dataset_name: Its usual name.
        split: Name of the evaluated part.
        metrics: Results.
        figures: Content of image files by name.
    """

    name: str
    sections: Mapping[str, str]
    license: str = 'other'
    dataset: str = ''
    dataset_name: str = ''
    split: str = ''
    metrics: Sequence[Metric] = ()
    figures: Mapping[str, bytes] = field(default_factory=dict)


def render(card: Card) -> str:
    """Return a card as Markdown with the hub's header in YAML."""
    lines = ['---', yaml.safe_dump(_header(card), sort_keys=False).rstrip(), '---', '']
    lines += [f'# {card.name}', '']
    for heading, text in card.sections.items():
        lines += [f'## {heading}', '', text.strip(), '']
    lines += ['## Use', '', _USE.strip(), '']
    return '\n'.join(lines)


def describe_network(model: BaseSegmentor, classes: Sequence[str]) -> dict[str, str]:
    """Return the sections that follow from the network alone."""
    head, backbone = model.decode_head, model.backbone
    millions = sum(value.numel() for value in model.parameters()) / 1e6
    parts = [f'{type(head).__name__} on {type(backbone).__name__}, {millions:.1f} M parameters.']
    if isinstance(head, EncodingHead):
        parts.append(
            f'Context Encoding Module (Zhang et al., CVPR 2018, {_PAPER}) with {head.num_codes} '
            f'codewords, {"with" if head.use_se_loss else "without"} SE branch, '
            f'{"with" if head.add_lateral else "without"} lateral connections.'
        )
    names = ', '.join(classes)
    return {
        'Network': f'{" ".join(parts)}\n\n{len(classes)} classes: {names}.',
        'Intended use': (
            'Semantic segmentation of images like those it was trained on, for research and as a '
            'start for fine-tuning. It is not meant for decisions about people or their safety.'
        ),
        'Limits': (
            'Every pixel gets one of the classes above; other things are labelled as the class '
            'that looks most alike. Results on images of another kind than the training images '
            'are unknown; evaluate the network on your own before you rely on it.'
        ),
    }


_USE = f"""
Install the package (version {__version__} or later) with its extras `toolbox` and `hub`; put the
name of this repository, or the folder, in place of `NAME`:

```python
from mmseg_encnet.hub import from_pretrained

segmentor = from_pretrained('NAME')
prediction = segmentor.predict('photo.jpg')
labels = prediction.pred_sem_seg.data
```

`config.json` is plain data and `model.safetensors` holds tensors: loading them runs no code.
"""


def _header(card: Card) -> dict[str, Any]:
    header: dict[str, Any] = dict(
        library_name='mmsegmentation-encnet',
        license=card.license,
        pipeline_tag=_TASK,
        tags=['semantic-segmentation', 'encnet', 'mmsegmentation'],
    )
    if card.license == 'other':
        header['license_name'] = 'not-stated'
    if card.dataset:
        header['datasets'] = [card.dataset]
    if card.metrics:
        header['metrics'] = [metric.kind for metric in card.metrics]
        header['model-index'] = [
            dict(
                name=card.name,
                results=[
                    dict(
                        task=dict(type=_TASK, name='Semantic segmentation'),
                        dataset=dict(
                            type=card.dataset or 'unknown',
                            name=card.dataset_name or card.dataset or 'unknown',
                            split=card.split or 'test',
                        ),
                        metrics=[
                            dict(type=metric.kind, name=metric.name, value=round(metric.value, 2))
                            for metric in card.metrics
                        ],
                    )
                ],
            )
        ]
    return header
