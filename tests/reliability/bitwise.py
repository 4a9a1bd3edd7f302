"""Compute the results that ``check_bitwise.py`` compares, and write them to a file."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.ops import encode, upsampled_cross_entropy
from mmseg_encnet.ops.encode.backends import BACKENDS as ENCODE
from mmseg_encnet.ops.upsampled_cross_entropy.backends import BACKENDS as LOSS

STEPS = 4
DTYPES = {'float32': torch.float32, 'float64': torch.float64}


def operators() -> dict[str, list[torch.Tensor]]:
    """Return results and gradients of the operators by backend and precision."""
    found = {}
    for label, dtype in DTYPES.items():
        rng = torch.Generator().manual_seed(0)
        shapes = (2, 64, 40, 30), (16, 64), (16,)
        inputs = [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes]
        x, codewords, scale = (value.to(dtype).requires_grad_() for value in inputs)
        for name in ENCODE:
            if ENCODE[name].refusal(x.flatten(2), codewords, scale) is None:
                out = encode(x, codewords, scale, backend=name)
                grads = torch.autograd.grad(out.square().sum(), (x, codewords, scale))
                found[f'encode, {name}, {label}'] = [out.detach(), *grads]
        logits = torch.randn((2, 21, 12, 12), generator=rng, dtype=torch.float64).to(dtype)
        logits.requires_grad_()
        labels = torch.randint(0, 21, (2, 96, 96), generator=rng)
        for name in LOSS:
            if LOSS[name].refusal(logits, labels) is None:
                loss = upsampled_cross_entropy(logits, labels, backend=name)
                grads = torch.autograd.grad(loss, logits)
                found[f'upsampled cross entropy, {name}, {label}'] = [loss.detach(), *grads]
    return found


def network() -> Any:
    from tiny_setup import MSRC21, SHRUNK

    cfg = load_config(str(MSRC21), SHRUNK)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    # PyTorch's normal numbers depend on the instruction set, NumPy's do not.
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                drawn = rng.standard_normal(tuple(value.shape)) / value[0].numel() ** 0.5
                value.copy_(torch.from_numpy(drawn))
    return model


def training(dtype: torch.dtype) -> list[torch.Tensor]:
    """Return the weights and statistics after a few steps."""
    model = network().train().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    rng, normal = torch.Generator().manual_seed(1), np.random.default_rng(1)
    for _ in range(STEPS):
        samples = []
        for _ in range(2):
            sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)))
            labels = torch.randint(0, 21, (1, 64, 64), generator=rng)
            sample.gt_sem_seg = PixelData(data=labels)
            samples.append(sample)
        images = torch.from_numpy(normal.standard_normal((2, 3, 64, 64))).to(dtype)
        optimizer.zero_grad()
        model.parse_losses(model.loss(images, samples))[0].backward()
        optimizer.step()
    return [value for value in model.state_dict().values() if value.is_floating_point()]


def loading(folder: Path) -> dict[str, list[torch.Tensor]]:
    """Return two batches by number of data loading workers."""
    from mmengine.runner import Runner
    from tiny_setup import MSRC21, SHRUNK, draw_photographs

    draw_photographs(folder, 'train', 8)
    found = {}
    for workers in (0, 1, 4):
        cfg = load_config(
            str(MSRC21),
            {
                **SHRUNK,
                'train_dataloader.dataset.data_root': str(folder),
                'train_dataloader.num_workers': workers,
                'train_dataloader.persistent_workers': workers > 0,
            },
        )
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        batches = iter(loader)
        content = []
        for _ in range(2):
            batch = next(batches)
            content += batch['inputs']
            content += [sample.gt_sem_seg.data for sample in batch['data_samples']]
        del batches
        found[f'data loading, {workers} workers'] = content
    return found


def inference(dtype: torch.dtype) -> dict[str, list[torch.Tensor]]:
    """Return scores of images, one by one and in a batch, in one piece and in windows."""
    model = network().eval().to(dtype)
    images = torch.from_numpy(np.random.default_rng(2).standard_normal((4, 3, 96, 96))).to(dtype)
    metas = [dict(ori_shape=(96, 96), img_shape=(96, 96), pad_shape=(96, 96))] * 4
    found = {}
    with torch.no_grad():
        for mode, options in {
            'whole': dict(mode='whole'),
            'windows': dict(mode='slide', crop_size=(64, 64), stride=(32, 32)),
        }.items():
            model.test_cfg.update(options)
            found[f'inference, {mode}, batch of 4'] = [model.inference(images, metas)]
            found[f'inference, {mode}, one by one'] = [
                torch.cat([model.inference(images[i : i + 1], metas[:1]) for i in range(4)])
            ]
    return found


def main() -> None:
    out, threads = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        found = {**operators(), **loading(Path(folder))}
    for label, dtype in DTYPES.items():
        found[f'training, {STEPS} iterations, {label}'] = training(dtype)
        found.update({f'{key}, {label}': value for key, value in inference(dtype).items()})
    arrays = {
        f'{name}/{index}': value.numpy()
        for name, values in found.items()
        for index, value in enumerate(values)
    }
    np.savez(out, **arrays)


if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from mmseg.utils import register_all_modules

    register_all_modules()
    main()
