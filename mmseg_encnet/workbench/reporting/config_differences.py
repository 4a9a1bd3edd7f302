"""Differences between the configs of several runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.runner import Runner

# Other entries are variables of the config files, which repeat what the runner reads.
_READ = frozenset(inspect.signature(Runner.__init__).parameters) - {
    'self',
    'cfg',
    'work_dir',
    'experiment_name',
    'launcher',
}
ABSENT = '\N{EN DASH}'


def config_differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the entries that differ between resolved configs, by dotted key.

    Each is the value in every config as text, :data:`ABSENT` where there is none.
    """
    entries = [dict(_entries({key: cfg[key] for key in cfg if key in _READ})) for cfg in configs]
    differences = {}
    for key in dict.fromkeys(key for each in entries for key in each):
        values = [each.get(key, ABSENT) for each in entries]
        if len(set(values)) > 1:
            differences[key] = values
    return differences


def _entries(node: Any, path: str = '') -> Iterator[tuple[str, str]]:
    """Yield every leaf with its dotted key; a list without dictionaries is a leaf."""
    if isinstance(node, Mapping) and node:
        children = node.items()
    elif isinstance(node, (list, tuple)) and any(isinstance(item, Mapping) for item in node):
        children = enumerate(node)
    else:
        yield path, repr(list(node) if isinstance(node, tuple) else node)
        return
    for key, value in children:
        yield from _entries(value, f'{path}.{key}' if path else str(key))
