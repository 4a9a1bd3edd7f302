"""Look through configs and the toolbox's registries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import mmengine.registry
import mmseg.registry
from mmengine.registry import Registry


def walk(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the value of every entry, outer ones first."""
    items: Any = ()
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    for key, value in items:
        place = join(path, key)
        yield place, value
        yield from walk(value, place)


def leaves(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the value of every leaf; a list without dictionaries is a leaf."""
    if isinstance(node, Mapping) and node:
        children: Any = node.items()
    elif isinstance(node, (list, tuple)) and any(isinstance(part, Mapping) for part in node):
        children = enumerate(node)
    else:
        yield path, node
        return
    for key, value in children:
        yield from leaves(value, join(path, key))


def join(path: str, key: Any) -> str:
    """Return the dotted path of an entry."""
    return f'{path}.{key}' if path else str(key)


def registered() -> Iterator[tuple[str, Any]]:
    """Yield name and value of everything in the toolbox's registries, after importing all of it."""
    for module in (mmseg.registry, mmengine.registry):
        for registry in vars(module).values():
            if isinstance(registry, Registry):
                registry.import_from_location()
                yield from registry.module_dict.items()
