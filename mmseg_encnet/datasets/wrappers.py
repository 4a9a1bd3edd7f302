"""The data sets inside the toolbox's wrappers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.dataset import BaseDataset


def leaf_datasets(dataset: Any) -> Iterator[BaseDataset]:
    """Yield the data sets inside the toolbox's wrappers."""
    nested = getattr(dataset, 'datasets', None) or (
        [dataset.dataset] if hasattr(dataset, 'dataset') else []
    )
    if not nested and isinstance(dataset, BaseDataset):
        yield dataset
    for part in nested:
        yield from leaf_datasets(part)
