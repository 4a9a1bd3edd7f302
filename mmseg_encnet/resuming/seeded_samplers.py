"""Orders of samples whose augmentation does not depend on the process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any

from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Generator
from torch.utils.data import DataLoader

from mmseg_encnet.resuming.random_states import seeded


class Draw(int):
    """The index of a sample, with the seeds for its augmentation."""

    seeds: tuple[int, ...]

    def __new__(cls, index: int, seeds: tuple[int, ...]) -> Draw:
        draw = super().__new__(cls, index)
        draw.seeds = seeds
        return draw

    def __reduce__(self) -> tuple:
        return Draw, (int(self), self.seeds)


class _SeededReader:
    """Prepares the samples of a batch, each from its own seeds."""

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
    """The toolbox's ``InfiniteSampler``, with the same order, which also seeds the augmentation.

    The random numbers of a sample depend only on the seed of the run and the sample's position in
    the order over all processes. Neither the number of workers, nor an interruption, nor the
    division of a batch among processes changes the training samples.

    Args:
        dataset: Data set. Its ``__getitems__``, which PyTorch's loader prefers for batches, is
            replaced.
        shuffle: Whether to shuffle.
        seed: Seed of the order and the augmentation. Default: a random one, the same in every
            process.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        super().__init__(dataset, shuffle, seed)
        dataset.__getitems__ = _SeededReader(dataset)

    def _indices_of_rank(self) -> Iterator[Draw]:
        for step, index in enumerate(super()._indices_of_rank()):
            yield Draw(index, (self.seed, self.rank + step * self.world_size))


@DATA_SAMPLERS.register_module()
class SeededDefaultSampler(DefaultSampler):
    """The toolbox's ``DefaultSampler``, with the same order, which also seeds the augmentation.

    The random numbers of a sample depend only on the seed of the run, the epoch and the sample's
    position in the epoch over all processes, as with :class:`SeededInfiniteSampler`.

    Args:
        dataset: Data set. Its ``__getitems__``, which PyTorch's loader prefers for batches, is
            replaced.
        shuffle: Whether to shuffle.
        seed: Seed of the order and the augmentation. Default: a random one, the same in every
            process.
        round_up: Whether to repeat samples so that every process has the same number.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True
    ) -> None:
        super().__init__(dataset, shuffle, seed, round_up)
        dataset.__getitems__ = _SeededReader(dataset)

    def __iter__(self) -> Iterator[Draw]:
        for step, index in enumerate(super().__iter__()):
            yield Draw(index, (self.seed, self.epoch, self.rank + step * self.world_size))


def detach_from_process(dataloader: DataLoader) -> None:
    """Let a data loader with a finite order restart without drawing from the process's generator.

    PyTorch draws a seed for the workers at each start. A run that resumes at the end of an epoch
    restores the random states after the loader's restart, and would miss that number.
    """
    if isinstance(dataloader.sampler, SeededDefaultSampler):
        dataloader.generator = Generator()


def continue_order(runner: Runner) -> None:
    """Draw the samples of a resumed run in the order of its seed.

    The toolbox builds the data loader before it reads the seed from the checkpoint.
    """
    loop = runner.train_loop
    sampler = getattr(loop.dataloader, 'sampler', None)
    if getattr(sampler, 'seed', runner.seed) == runner.seed:
        return
    sampler.seed = runner.seed
    if hasattr(sampler, '_indices_of_rank'):
        sampler.indices = sampler._indices_of_rank()
    if isinstance(loop, IterBasedTrainLoop):
        loop.dataloader_iterator = type(loop.dataloader_iterator)(loop.dataloader)
