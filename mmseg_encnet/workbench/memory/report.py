"""Memory plans as Markdown."""

from __future__ import annotations

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.configuration.shipped import config_dir
from mmseg_encnet.workbench.formatting import markdown_table, memory_text
from mmseg_encnet.workbench.memory.plan import MemoryPlan, plan_memory

# GB as on the box of a GPU, which are GiB of memory.
CARDS = (8, 11, 24, 80)
# What a plan cannot count: the CUDA context, workspaces of cuDNN, and gaps between allocations.
RESERVE_BYTES, RESERVE_SHARE = 2**30, 0.1
_INTRODUCTION = """# Memory

This page lists the memory that each config needs on one GPU in single precision. It is written by
`tools/analysis_tools/memory_plan.py --page`. The tool also prints the parts, for any config, batch
and crop, and with the head of the toolbox:

```
python tools/analysis_tools/memory_plan.py encnet_r50_pcontext --batch 8 --crop 480 480
python tools/analysis_tools/memory_plan.py encnet_r50_ade20k --head mmseg
```

The figures are computed on PyTorch's `meta` device, which allocates nothing. They are the largest
size of all tensors that are allocated at a time: parameters, gradients, optimiser state, images,
labels, activations and temporary tensors. The tests hold them to 10 % of the peak that PyTorch's
profiler measures on the CPU. They have not been compared with a GPU.

Training is one step with the batch and crop of the config on one GPU, inference is the prediction
of one image of the size of the crop.

A GPU needs more than its tensors: the CUDA context, workspaces of cuDNN, gaps between allocations
and, with several GPUs, the buckets of the gradients. *Fits on* allows 1 GiB and 10 % for them, on
cards of 8, 11, 24 and 80 GB.
"""


def smallest_card(peak: int) -> str:
    """Return the smallest of :data:`CARDS` that holds a peak and the reserve, in GB."""
    needed = peak * (1 + RESERVE_SHARE) + RESERVE_BYTES
    return next((f'{card} GB' for card in CARDS if needed <= card * 2**30), 'none')


def markdown(plan: MemoryPlan) -> str:
    """Return one plan as a table."""
    images = f'{plan.batch} x 3 x {plan.crop[0]} x {plan.crop[1]}'
    rows = [
        ('parameters and buffers', plan.parameters),
        ('gradients', plan.gradients),
        ('optimiser state', plan.optimizer),
        (f'images ({images}) and labels', plan.inputs),
        *((f'activations: {part}', size) for part, size in plan.activations.items()),
        ('**peak of a training step**', plan.training_peak),
        ('**peak of inference, one image**', plan.inference_peak),
    ]
    table = markdown_table(('', 'Memory'), [(name, memory_text(size)) for name, size in rows])
    return (
        f'{table}\n\nWith a reserve of 10 % and 1 GiB, training fits on '
        f'{smallest_card(plan.training_peak)}, inference on {smallest_card(plan.inference_peak)} '
        f'(of {", ".join(map(str, CARDS))} GB).'
    )


def row(name: str, plan: MemoryPlan) -> tuple[str, ...]:
    """Return the row of a config in the table of all configs."""
    return (
        f'`{name}`',
        f'{plan.batch} x {plan.crop[0]} x {plan.crop[1]}',
        memory_text(plan.training_peak),
        smallest_card(plan.training_peak),
        memory_text(plan.inference_peak),
        smallest_card(plan.inference_peak),
    )


def planned_configs() -> list[str]:
    """Return the names of the shipped configs that can be planned on any machine."""
    names = sorted(path.stem for path in config_dir().glob('*.py'))
    # Others run mmcv's operators, which exist on GPUs only.
    return [name for name in names if not name.endswith('_mmcv-ops')]


def write_page() -> str:
    """Return the page with the plans of all shipped configs, as Markdown."""
    headers = ('Config', 'Batch and crop', 'Training', 'fits on', 'Inference', 'fits on')
    table = markdown_table(
        headers, (row(name, plan_memory(load_config(name))) for name in planned_configs())
    )
    return f'{_INTRODUCTION}\n{table}\n'
