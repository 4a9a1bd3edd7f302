"""Feed generated inputs to every reader, in this process; ``check_attack.py`` starts it.

An input fails a reader if it raises anything but its documented error, if the message has several
lines or more than 300 characters, or if reading takes more than 1 GiB of memory or 5 s of processor
time.
"""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONGEST, SECONDS, MEMORY = 300, 5.0, 1 << 30
# Inputs that hypothesis generates; simpler mutations follow.
BY_HYPOTHESIS = 10_000
# Inputs after which the limit of memory is renewed.
_RENEWED = 100


class TooSlowError(BaseException):
    """Reading an input has taken too much processor time."""


def _too_slow(number: int, frame: Any) -> None:
    raise TooSlowError(f'more than {SECONDS:.0f} s')


def limit_memory() -> None:
    """Limit the memory of this process to what it has and 1 GiB more."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))


@contextmanager
def bounded() -> Iterator[None]:
    """Bound the time of every input; see :meth:`Attack.read`."""
    former = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, _too_slow)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, former)


class Attack:
    """Inputs that have been read, and the failures.

    Args:
        targets: The readers by name.
        folder: Folder for the files of the inputs.
        results: File of the counts and failures; written from time to time, because a crash of the
            process may end it at any moment.
    """

    def __init__(self, targets: dict[str, Any], folder: Path, results: Path | None = None) -> None:
        self.targets, self.folder, self.results = targets, folder, results
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        self.slowest = 0.0
        self.seconds: Counter[str] = Counter()

    def read(self, name: str, content: bytes) -> None:
        """Read an input and record a failure."""
        target = self.targets[name]
        folder = self.folder / name.replace(' ', '_').replace('/', '_')
        path = folder / target.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.counts[name] += 1
        start = time.process_time()
        if sum(self.counts.values()) % _RENEWED == 1:
            # What the process has grown by is not due to one input.
            limit_memory()
        # Not switched off afterwards: the next input restarts it.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            target.read(path)
        except target.documented as error:
            self.refused[name] += 1
            message = str(error).replace(str(folder), '')
            if '\n' in message or len(message) > LONGEST:
                self._fail(name, content, 'long message', message)
        except (Exception, TooSlowError) as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            ours = [
                frame
                for frame in traceback.extract_tb(error.__traceback__)
                if '/mmseg_encnet/' in frame.filename
            ]
            where = ours[-1] if ours else place
            self._fail(
                name,
                content,
                f'{type(error).__name__} at {Path(where.filename).name}:{where.lineno}',
                str(error)[:300],
            )
        taken = time.process_time() - start
        self.seconds[name] += taken
        self.slowest = max(self.slowest, taken)
        if self.results and sum(self.counts.values()) % 500 == 0:
            self.write()

    def _fail(self, name: str, content: bytes, kind: str, message: str) -> None:
        key = f'{name}: {kind}'
        if key not in self.failures:
            self.failures[key] = message
            kept = os.environ.get('ATTACK_KEEP')
            if kept:
                Path(kept).mkdir(parents=True, exist_ok=True)
                file = Path(kept, f'{len(self.failures)}-{self.targets[name].file}')
                file.write_bytes(content)
                print(f'{key}: {message} [{file}]', file=sys.stderr, flush=True)

    def write(self) -> None:
        """Write the results so far."""
        assert self.results is not None
        content = dict(
            counts=self.counts,
            refused=self.refused,
            failures=self.failures,
            slowest=self.slowest,
            seconds=self.seconds,
        )
        aside = self.results.with_suffix('.part')
        aside.write_text(json.dumps(content))
        aside.replace(self.results)


def shares(targets: dict[str, Any], count: int) -> dict[str, int]:
    """Divide a number of inputs among the targets."""
    total = sum(target.share for target in targets.values())
    return {name: max(1, round(count * t.share / total)) for name, t in targets.items()}


def damaged(seeds: list[bytes]) -> Callable[..., bytes]:
    """Return the function of a damage and a number that damages an input."""
    return lambda damage, number: damage(seeds[number])


def changed_content(target: Any) -> Callable[[int, int], bytes]:
    """Return the function of two numbers that encodes changed content."""
    from attack_targets import mutated

    return lambda number, seed: target.encode(mutated(target.contents[number], seed))


def partial_read(attack: Attack, name: str) -> Callable[[bytes], None]:
    """Return the function of an input that hypothesis calls."""

    def read(content: bytes) -> None:
        attack.read(name, content)

    return read


def by_hypothesis(attack: Attack, count: int) -> None:
    """Generate inputs with hypothesis: damaged bytes, and changed content where there is any."""
    from fuzzing import damages
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    most = shares(attack.targets, BY_HYPOTHESIS)
    for name, number in shares(attack.targets, count).items():
        target, seeds = attack.targets[name], attack.targets[name].seeds()
        # By number, because hypothesis keeps representations of what it chooses from.
        inputs = st.builds(damaged(seeds), damages(), st.integers(0, len(seeds) - 1))
        if target.encode is not None:
            changed = st.builds(
                changed_content(target),
                st.integers(0, len(target.contents) - 1),
                st.integers(0, 2**32),
            )
            inputs = st.one_of(changed, changed, inputs)
        options = settings(
            max_examples=min(number, most[name]),
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        before = attack.counts[name]

        options(given(inputs)(partial_read(attack, name)))()
        # Hypothesis is slow, and stops where it finds no new inputs.
        rng = random.Random(0)
        for _ in range(number - (attack.counts[name] - before)):
            seed = bytearray(rng.choice(seeds) or b'0')
            for _ in range(rng.randint(1, 4)):
                seed[rng.randrange(len(seed))] = rng.randrange(256)
            attack.read(name, bytes(seed))


def guided(attack: Attack, count: int, corpus: Path, seed: int) -> None:
    """Generate inputs with atheris, guided by the coverage of the package; does not return."""
    import atheris
    from attack_targets import mutated

    names = list(attack.targets)
    numbers = shares(attack.targets, count)
    for index, name in enumerate(names):
        for place, content in enumerate(attack.targets[name].seeds()):
            (corpus / f'{index}-{place}').write_bytes(bytes([index]) + content)

    def one(data: bytes) -> None:
        done = sum(attack.counts.values())
        if done >= count:
            attack.write()
            os._exit(0)
        if data:
            name = names[data[0] % len(names)]
            if attack.counts[name] < numbers[name]:
                attack.read(name, data[1:])
                return
            # The share of this target is done: a neighbour reads the bytes instead.
            for other in names:
                if attack.counts[other] < numbers[other]:
                    content = fresh(other, random.Random(done))
                    attack.read(other, content)
                    return
            attack.write()
            os._exit(0)

    seeds = {name: attack.targets[name].seeds() for name in names}

    def fresh(name: str, rng: random.Random) -> bytes:
        target = attack.targets[name]
        if target.encode is not None and rng.random() < 0.5:
            return target.encode(mutated(rng.choice(target.contents), rng.randrange(2**32)))
        return bytes(atheris.Mutate(rng.choice(seeds[name]), 1 << 16))

    def mutate(data: bytes, largest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if not data or rng.random() < 0.1:
            index = rng.randrange(len(names))
            return (bytes([index]) + fresh(names[index], rng))[:largest]
        target = attack.targets[names[data[0] % len(names)]]
        if target.encode is not None and rng.random() < 0.5:
            return (data[:1] + fresh(target.name, rng))[:largest]
        return data[:1] + bytes(atheris.Mutate(data[1:], max(1, largest - 1)))

    atheris.Setup(
        [sys.argv[0], '-max_len=65536', f'-seed={seed}', f'-runs={100 * count}', '-rss_limit_mb=0',
         '-timeout=600', '-len_control=0',
         f'-artifact_prefix={os.environ.get("ATTACK_KEEP", corpus)}/', str(corpus)],
        one,
        custom_mutator=mutate,
    )  # fmt: skip
    atheris.Fuzz()


def main() -> None:
    mode, count, results = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    os.environ['TQDM_DISABLE'] = '1'
    warnings.simplefilter('ignore')
    if mode == 'guided':
        import atheris

        with atheris.instrument_imports(include=['mmseg_encnet']):
            import attack_targets
    else:
        import attack_targets
    from mmseg.utils import register_all_modules

    logging.disable()
    register_all_modules()
    with tempfile.TemporaryDirectory() as folder:
        attack = Attack(attack_targets.targets(), Path(folder, 'files'), results)
        corpus = Path(folder, 'corpus')
        corpus.mkdir()
        with bounded():
            if mode == 'guided':
                guided(attack, count, corpus, int(sys.argv[4]))
            else:
                by_hypothesis(attack, count)
        attack.write()


if __name__ == '__main__':
    for place in (Path(__file__).parent, *Path(__file__).parents[1:2]):
        sys.path.append(str(place))
    main()
