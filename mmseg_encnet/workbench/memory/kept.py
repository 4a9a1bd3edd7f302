"""What a training step keeps for its backward pass, by part and by operation."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmseg_encnet.models.backbones.lean_blocks import RECOMPUTE
from mmseg_encnet.workbench.benchmarks import model as benchmark
from mmseg_encnet.workbench.formatting import markdown_table
from mmseg_encnet.workbench.memory import plan
from mmseg_encnet.workbench.memory.meter import Meter

# Names of operations, by a part of their names in PyTorch.
_OPERATIONS = {
    'convolution': 'outputs of convolutions',
    'batch_norm': 'outputs of batch norms and ReLUs',
    'max_pool': 'outputs and indices of max pooling',
}
_OTHER = 'other'


class _MeterByOperation(Meter):
    """Labels tensors with part and operation, separated by a bar."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if '|' in self.label:
            return super().__torch_dispatch__(func, types, args, kwargs)
        operation = next((text for key, text in _OPERATIONS.items() if key in func.name()), _OTHER)
        with self.labelled(f'{self.label}|{operation}'):
            return super().__torch_dispatch__(func, types, args, kwargs)


def kept_bytes(cfg: Config, batch: int, crop: tuple[int, int]) -> dict[tuple[str, str], int]:
    """Return the bytes that exist at the end of the forward pass, by part and operation.

    A storage counts once, where it was created. In-place operations create none: the output of a
    ReLU is that of the norm before it. Parameters, images and labels are left out.
    """
    init_default_scope('mmseg')
    network = plan.build(cfg, 'meta')
    optimizer = plan.build_optimizer(network, cfg)
    images, samples = plan.make_batch(network, batch, crop, 'meta')
    kept: dict[str, int] = {}
    meter = _MeterByOperation()
    with meter.labelled('inputs'):
        inputs = (*network.parameters(), *network.buffers(), images)
        for tensor in (*inputs, *(sample.gt_sem_seg.data for sample in samples)):
            meter.add(tensor)
    with (
        meter,
        plan.labels_of_parts(network, meter, stages=True),
        warnings.catch_warnings(),
    ):
        # The toolbox warns of its defaults and of sizes at which it resizes.
        warnings.filterwarnings('ignore', module='mmseg')
        plan.train(network, images, samples, optimizer, lambda: kept.update(meter.live))
    parts: Counter[tuple[str, str]] = Counter()
    for label, size in kept.items():
        part, bar, operation = label.partition('|')
        # Losses are single numbers where they are no tensors of pixels.
        if bar and size >= 2**10:
            parts[part, operation] += size
    return dict(parts)


def contenders(cfg: Config) -> dict[str, Config]:
    """Return the config with the toolbox's head, and with each value of ``recompute``."""
    configs = {}
    if cfg.model.decode_head.type == 'EncodingHead':
        configs['mmseg EncHead'] = plan.with_head(cfg, 'mmseg')
    if cfg.model.backbone.type == 'ResNetV1s':
        for value in RECOMPUTE:
            changed = cfg.copy()
            changed.model = benchmark.with_parts(cfg.model, dict(backbone=dict(recompute=value)))
            configs[f"recompute='{value}'"] = changed
    else:
        configs['as configured'] = cfg
    return configs


def markdown(cfg: Config, batch: int | None = None, crop: tuple[int, int] | None = None) -> str:
    """Return a table in MiB with one column for each of :func:`contenders`."""
    batch, size = plan.batch_and_crop(cfg, batch, crop)
    columns = {name: kept_bytes(one, batch, size) for name, one in contenders(cfg).items()}

    def row(name: str, index: int | None) -> tuple[str, ...]:
        sums = (
            sum(size for key, size in kept.items() if index is None or key[index] == name)
            for kept in columns.values()
        )
        return name, *(f'{total / 2**20:.0f}' for total in sums)

    keys = [key for kept in columns.values() for key in kept]
    rows = [row(name, index) for index in (0, 1) for name in dict.fromkeys(k[index] for k in keys)]
    rows.append(row('**in all**', None))
    table = markdown_table(('Kept (MiB)', *columns), rows)
    return f'{table}\n\n{batch} images of {size[0]} x {size[1]} in single precision.'
