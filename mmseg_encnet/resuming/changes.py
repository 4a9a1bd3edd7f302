"""Compare a run with the one that its checkpoint records."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mmseg_encnet.configuration.kinds import ENDS, EXTEND, LENGTH, OVERRIDE, kind_of
from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming.run_record import RunRecord
from mmseg_encnet.resuming.samples import difference

_SHOWN = 3
_MISSING = object()
_LONG = 60
# Settings whose key is not that of the config.
_ENTRIES = {'pipeline': 'train_dataloader.dataset.pipeline', 'dataset': 'train_dataloader.dataset'}


class Change(NamedTuple):
    """One difference between a run and its continuation.

    Attributes:
        kind: Name of its kind, see :mod:`mmseg_encnet.configuration.kinds`, or ``'length'``.
        text: What has changed, a main clause in the past tense.
    """

    kind: str
    text: str


def compare(before: RunRecord, now: RunRecord) -> list[Change]:
    """Return what has changed between two records, other than what does not affect the result."""
    return [
        *_length(before, now),
        *_batch(before, now),
        *_samples(before, now),
        *_settings(before, now),
    ]


def version_change(before: RunRecord, now: RunRecord) -> str | None:
    """Return a warning if versions or the device differ, which can change the rounding."""
    names = [
        f'{name} {before.versions[name]} instead of {version}'
        for name, version in now.versions.items()
        if before.versions.get(name, version) != version
    ]
    if before.device != now.device:
        names.append(f'device {before.device} instead of {now.device}')
    if not names:
        return None
    return f'the checkpoint was written with {", ".join(names)}; results can differ by rounding.'


def refuse(changes: Sequence[Change], accepted: Collection[str], length: int) -> None:
    """Refuse changes that were not asked for.

    Args:
        changes: All changes.
        accepted: Kinds of changes that the user asked for.
        length: Length of the run in iterations or epochs.

    Raises:
        UserError: There is another change; the message names the options that accept it.
    """
    refused = [change for change in changes if change.kind not in accepted]
    if not refused:
        return
    texts = [change.text for change in refused[:_SHOWN]]
    more = len(refused) - len(texts)
    if more:
        texts.append(f'{more} more entr{"ies" if more > 1 else "y"} changed')
    kinds = dict.fromkeys(change.kind for change in refused)
    options = [f'{EXTEND} {length}'] if LENGTH in kinds else []
    named = [kind for kind in kinds if kind != LENGTH]
    if named:
        options.append(f'{OVERRIDE} {" ".join(named)}')
    raise UserError(
        f'does not continue the same run: {_joined(texts)}; undo the change, or accept it with '
        f'{" ".join(options)}.'
    )


def shown(value: Any) -> str:
    """Return a value of a config entry as text for a message."""
    if value is _MISSING:
        return 'nothing'
    text = ', '.join(map(str, value)) if isinstance(value, list) else str(value)
    if isinstance(value, list) and not value:
        return 'nothing'
    return text if len(text) <= _LONG else f'{text[: _LONG - 4]} ...'


def _length(before: RunRecord, now: RunRecord) -> Iterator[Change]:
    if before.length_name == now.length_name and before.length != now.length:
        yield _changed(LENGTH, f'train_cfg.{now.length_name}', before.length, now.length)


def _batch(before: RunRecord, now: RunRecord) -> Iterator[Change]:
    if before.loop != now.loop:
        yield _changed('loop', 'train_cfg.type', before.loop, now.loop)
    if before.batch_size is None or now.batch_size is None:
        if before.batch_size != now.batch_size or before.processes != now.processes:
            yield _changed('batch_size', 'the batches', _batches(before), _batches(now))
    elif before.batch_size * before.processes != now.batch_size * now.processes:
        yield _changed('batch_size', 'the batch', _batches(before), _batches(now))
    elif (
        before.processes != now.processes
        and 0 not in (_padded(before), _padded(now))
        and _padded(before) != _padded(now)
    ):
        yield Change(
            'processes',
            f'the number of processes changed from {before.processes} to {now.processes}, which '
            f'changes the epoch from {_padded(before)} to {_padded(now)} images',
        )


def _batches(record: RunRecord) -> str:
    size = 'those of a batch sampler' if record.batch_size is None else str(record.batch_size)
    if record.processes == 1:
        return f'{size} in one process'
    total = f' ({record.batch_size * record.processes} in all)' if record.batch_size else ''
    return f'{size} in each of {record.processes} processes{total}'


def _padded(record: RunRecord) -> int:
    """Return the number of samples in an epoch, or 0 with an infinite sampler."""
    sampler = str(record.settings.get('train_dataloader.sampler.type', ''))
    if 'Infinite' in sampler:
        return 0
    if record.settings.get('train_dataloader.sampler.round_up') is False:
        return record.num_samples
    return -(-record.num_samples // record.processes) * record.processes


def _samples(before: RunRecord, now: RunRecord) -> Iterator[Change]:
    found = difference(before.samples, now.samples)
    if found:
        was, are = len(before.samples.names), len(now.samples.names)
        count = f'{was}' if was == are else f'{was}, now {are}'
        yield Change('data', f'the training images ({count}) changed: {found}')


def _settings(before: RunRecord, now: RunRecord) -> Iterator[Change]:
    if before.seed is not None and now.seed not in (None, before.seed):
        yield _changed('seed', 'randomness.seed', before.seed, now.seed)
    then, since = before.settings, now.settings
    for key in sorted({*then, *since}):
        former, value = then.get(key, _MISSING), since.get(key, _MISSING)
        if _equal(former, value) or (_MISSING in (former, value) and _belongs(key, then, since)):
            continue
        kind = LENGTH if _ends_with_training(key, former, value, before, now) else kind_of(key)
        yield _changed(kind, _entry(key), *_differing(former, value))


def _belongs(key: str, then: Mapping[str, Any], since: Mapping[str, Any]) -> bool:
    """Return whether a setting belongs to a part or step that was added, removed or replaced."""
    if re.match(r'(classes|pipeline|dataset)\.\d+\.', key):
        # Of a data set beside the first one.
        return then.get('dataset') != since.get('dataset')
    part, _, name = key.rpartition('.')
    whole = f'{part}.type' if name != 'type' else None
    if key.startswith('pipeline.') and name != 'steps':
        whole = re.sub(r'(\.\d+)?\.[A-Z].*', r'\1.steps', key)
    return whole is not None and then.get(whole) != since.get(whole)


def _ends_with_training(
    key: str, former: Any, value: Any, before: RunRecord, now: RunRecord
) -> bool:
    """Return whether a setting of a scheduler has changed by as much as the length."""
    return (
        key.startswith('param_scheduler.')
        and key.endswith(ENDS)
        and type(former) is type(value) is int
        and value - former == now.length - before.length
    )


def _equal(one: Any, other: Any) -> bool:
    """Return whether two values mean the same: 1 and 1.0 do, 1 and True do not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _differing(before: Any, now: Any) -> tuple[Any, Any]:
    """Return two lists without what they have in common at their ends."""
    if not isinstance(before, list) or not isinstance(now, list):
        return before, now
    if all(isinstance(value, (int, float)) for value in [*before, *now]):
        return before, now
    start = 0
    while start < min(len(before), len(now)) and before[start] == now[start]:
        start += 1
    end = 0
    while end < min(len(before), len(now)) - start and before[-1 - end] == now[-1 - end]:
        end += 1
    return before[start : len(before) - end], now[start : len(now) - end]


def _entry(key: str) -> str:
    first, _, rest = key.partition('.')
    return '.'.join(filter(None, (_ENTRIES.get(first, first), rest)))


def _changed(kind: str, subject: str, before: Any, now: Any) -> Change:
    return Change(kind, f'{subject} changed from {shown(before)} to {shown(now)}')


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f'{", ".join(texts[:-1])} and {texts[-1]}'
