"""Refuse heads whose scores cannot distinguish the classes, before anything is built."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

from mmseg.registry import MODELS

from mmseg_encnet.errors import UserError

_ONE_SCORE = (
    'for two classes with one score set num_classes=2, out_channels=1, threshold=0.5 and '
    "loss_decode=dict(type='SyncCrossEntropyLoss', use_sigmoid=True)"
)


def check_scores(cfg: Mapping[str, Any]) -> None:
    """Check the number of scores of every head of a config's model.

    A softmax over a single score is 1 whatever the network computes, so the loss is 0 and nothing
    is learnt.

    Raises:
        UserError: A head has a single class, or a single score whose loss is not a binary one or
            whose threshold is not between 0 and 1.
    """
    model = cfg.get('model')
    if not isinstance(model, Mapping):
        return
    for key in ('decode_head', 'auxiliary_head'):
        for path, head in _heads(model.get(key), f'model.{key}'):
            _check_head(path, head)


def _heads(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        yield path, node
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for index, part in enumerate(node):
            yield from _heads(part, f'{path}.{index}')


def _check_head(path: str, head: Mapping[str, Any]) -> None:
    num_classes = head.get('num_classes')
    if num_classes == 1:
        raise UserError(
            f'got {path}.num_classes=1, expected at least 2, because a single class leaves nothing '
            f'to distinguish; {_ONE_SCORE}.'
        )
    if head.get('out_channels') != 1:
        return
    if num_classes != 2:
        raise UserError(
            f'got {path}.out_channels=1 with num_classes={num_classes}, expected '
            f'out_channels={num_classes}, or num_classes=2; correct one of them.'
        )
    losses = _losses(head)
    for loss in losses or [{}]:
        if not loss or not _is_binary(loss):
            raise UserError(
                f'got {path}.out_channels=1 with the loss {loss.get("type", "of the head")}, '
                'expected a binary loss, because a softmax over one score is always 1; set '
                f"{path}.loss_decode=dict(type='SyncCrossEntropyLoss', use_sigmoid=True), or "
                'out_channels=2.'
            )
    threshold = head.get('threshold')
    if threshold is not None and not (isinstance(threshold, Real) and 0 < threshold < 1):
        raise UserError(
            f'{path}.threshold must be a probability between 0 and 1, got {threshold!r}; 0.5 '
            'chooses the more probable class.'
        )


def _losses(head: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    losses = head.get('loss_decode', _default(head, 'loss_decode'))
    if isinstance(losses, Mapping):
        return [losses]
    return list(losses) if isinstance(losses, (list, tuple)) else []


def _is_binary(loss: Mapping[str, Any]) -> bool:
    """Return whether a loss can take the sigmoid of a single score."""
    for key, binary in (('use_sigmoid', True), ('loss_type', 'binary')):
        chosen = loss.get(key, _default(loss, key))
        if chosen is not None:
            return chosen == binary
    # The toolbox's losses without a choice expect a score per class; others may be binary.
    return not getattr(_class(loss), '__module__', '').startswith('mmseg.')


def _default(cfg: Mapping[str, Any], name: str) -> Any:
    """Return the default of an argument of a config's type, None if it has none."""
    for part in getattr(_class(cfg), '__mro__', ()):
        if '__init__' in vars(part):
            parameter = inspect.signature(part.__init__).parameters.get(name)
            if parameter is not None:
                return None if parameter.default is parameter.empty else parameter.default
    return None


def _class(cfg: Mapping[str, Any]) -> Any:
    kind = cfg.get('type')
    return MODELS.get(kind) if isinstance(kind, str) else kind
