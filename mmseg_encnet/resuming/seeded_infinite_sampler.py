"""An endless order of samples in which each is augmented the same way whoever prepares it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATA_SAMPLERS

from mmseg_encnet.resuming.random_states import seeded


class Draw(int):
    """The index of a sample, with the seeds of the random numbers of its augmentation."""

    seeds: tuple[int, ...]

    def __new__(cls, index: int, seeds: tuple[int, ...]) -> Draw:
        draw = super().__new__(cls, index)
        draw.seeds = seeds
        return draw

    def __reduce__(self) -> tuple:
        return Draw, (int(self), self.seeds)


class _SeededReader:
    """Prepares the samples of a batch, each with random numbers of its own."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __call__(self, draws: Sequence[int]) -> list[Any]:
        samples = []
        for draw in draws:
            if isinstance(draw, Draw):
                with seeded(*draw.seeds):
                    samples.append(self.dataset[int(draw)])
            else:
                samples.append(self.dataset[draw])
        return samples


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """The toolbox's ``InfiniteSampler``, in the same order, which also seeds the augmentation.

    The random numbers of a sample follow from the seed of the run and from its place in the order
    over all processes. So neither the number of workers, nor an interruption, nor how a batch is
    divided among processes changes what a training sees.

    Args:
        dataset: The data set; its ``__getitems__``, which PyTorch's loader prefers for a batch, is
            set.
        shuffle: Whether to shuffle.
        seed: Seed of the order and of the augmentation; a random one, the same in every process,
            if not given.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        super().__init__(dataset, shuffle, seed)
        dataset.__getitems__ = _SeededReader(dataset)

    def _indices_of_rank(self) -> Iterator[Draw]:
        for step, index in enumerate(super()._indices_of_rank()):
            yield Draw(index, (self.seed, self.rank + step * self.world_size))
