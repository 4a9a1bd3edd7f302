"""Compare training and evaluation in several processes with a single one."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import record
from whole_and_parts import (
    AVERAGE_OF_AVERAGES,
    BATCH,
    ITERATIONS,
    NETWORKS,
    Difference,
    draw_images,
    evaluate,
    largest_difference,
    train,
)

BOUND = 1e-5
EVALUATED = {2: (2, 3), 7: (2, 3), 25: (2, 3, 4)}


def measure() -> dict[str, str | float]:
    with tempfile.TemporaryDirectory() as folder:
        return {**_training(Path(folder)), **_evaluation(Path(folder))}


def _training(folder: Path) -> dict[str, str | float]:
    data = draw_images(folder / 'data')
    figures: dict[str, str | float] = {}
    for network in NETWORKS:
        (whole,) = train(network, data, folder / f'{network}-whole', 1)
        for world_size in (2, BATCH):
            parts = train(network, data, folder / f'{network}-{world_size}', world_size)
            difference = Difference(
                *map(max, zip(*(largest_difference(whole, part) for part in parts)))
            )
            label = f'{network}, {ITERATIONS} iterations, {world_size} processes'
            figures[f'{label}: largest difference between losses'] = difference.losses
            figures[f'{label}: largest difference between weights'] = difference.weights
            assert max(difference) < BOUND, f'{label}: {difference}'
        if network == 'EncNet':
            parts = train(network, data, folder / 'toolbox', 2, AVERAGE_OF_AVERAGES)
            difference = largest_difference(whole, parts[0])
            label = "EncNet with the toolbox's average of averages, 2 processes"
            figures[f'{label}: largest difference between losses'] = difference.losses
            figures[f'{label}: largest difference between weights'] = difference.weights
    return figures


def _evaluation(folder: Path) -> dict[str, str]:
    figures = {}
    for num_images, world_sizes in EVALUATED.items():
        (alone,) = evaluate(folder / f'{num_images}-1', 1, num_images)
        images = alone['order/images']
        assert images == list(range(num_images)), f'{num_images} images came as {images}'
        for world_size in world_sizes:
            for metrics in evaluate(folder / f'{num_images}-{world_size}', world_size, num_images):
                assert metrics == alone, f'{metrics} instead of {alone}'
        figures[
            f'{num_images} images evaluated in 1, {", ".join(map(str, world_sizes))} processes'
        ] = f'{len(alone) - 1} metrics, identical'
    return figures


if __name__ == '__main__':
    record.run(
        'Distributed training and evaluation',
        'Processes that share a batch log the same losses and reach the same weights as one '
        'process with the whole batch, to 1e-5 in float64 with unevenly distributed ignored '
        'pixels; any number of processes measures the same metrics, even if it does not divide the '
        'number of images.',
        measure,
    )
