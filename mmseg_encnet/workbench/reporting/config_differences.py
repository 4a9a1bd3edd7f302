"""Differences between the configs of several runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.runner import Runner

from mmseg_encnet.configuration.tree import leaves

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
    entries = [
        {
            path: repr(list(value) if isinstance(value, tuple) else value)
            for path, value in leaves({key: cfg[key] for key in cfg if key in _READ})
        }
        for cfg in configs
    ]
    differences = {}
    for key in dict.fromkeys(key for each in entries for key in each):
        values = [each.get(key, ABSENT) for each in entries]
        if len(set(values)) > 1:
            differences[key] = values
    return differences
