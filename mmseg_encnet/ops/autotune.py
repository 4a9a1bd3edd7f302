"""Choose among implementations of an operator by timing them on the GPU that they run on.

As with ``torch.backends.cudnn.benchmark``, the first call with inputs of a new class is slower:
:class:`Autotuner` runs every candidate with them, checks its results and keeps the fastest.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmseg_encnet.plain_json import parse_json
from mmseg_encnet.version import __version__

# Returns a tensor with a gradient, or several results of which the first one has it.
Run = Callable[..., Any]

# Largest difference from the first candidate, over its largest value, by the dtype of a result.
# Two correct candidates differ by a tenth of it.
TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 5e-2}
_SINGLE = 1e-3
_ROUNDS = 5
_CALLS = 5


def gpu_seconds(call: Callable[[], object], device: torch.device) -> float:
    """Return the mean time of a few calls on a GPU, in seconds."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start.record()
    for _ in range(_CALLS):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000 / _CALLS


def cache_folder() -> Path:
    """Return the folder of the choices, ``~/.cache/mmseg_encnet`` unless XDG_CACHE_HOME is set."""
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'mmseg_encnet'


def can_time(tensors: Sequence[Tensor], devices: frozenset[str] = frozenset({'cuda'})) -> bool:
    """Return whether timing makes sense for a call with these tensors.

    Not while a graph is traced, exported or captured, not for tensors without data (fake, meta) or
    of another class, and not under ``torch.use_deterministic_algorithms``, because two runs could
    choose differently.
    """
    if torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.jit.is_tracing():
        return False
    if torch.are_deterministic_algorithms_enabled():
        return False
    if any(type(t) not in (Tensor, torch.nn.Parameter) or t.numel() == 0 for t in tensors):
        return False
    if any(tensor.device.type not in devices for tensor in tensors):
        return False
    return not (tensors[0].is_cuda and torch.cuda.is_current_stream_capturing())


def at_most(size: int) -> int:
    """Return the next power of two, for sizes that hardly change which candidate is fastest."""
    return 1 << (size - 1).bit_length()


def memory_order(tensor: Tensor) -> str:
    """Return the memory order of features or logits ``(B, C, ...)`` in words."""
    last = tensor.shape[1] > 1 and tensor.stride(1) == 1
    return 'channels last' if last else 'channels first'


class Autotuner:
    """Chooses the fastest implementation of an operator for each class of inputs.

    Choices are kept in memory and in a file per card and versions of PyTorch and of this package,
    which later runs read. A file that cannot be read or written is ignored.

    A candidate that raises, or whose result or gradients differ from those of the first candidate
    by more than rounding, is dropped for the rest of the process, with a warning. If the first
    candidate itself fails, for example because memory is short, or its results are not finite, it
    is the choice for this call, and nothing is kept.

    Processes do not coordinate their choices. In data-parallel training they may differ between
    processes, which only changes the rounding of each process's share of the gradient; no
    collective call depends on them.

    Args:
        operator: Name of the operator, for the file and the warnings.
        inputs_text: ``(*arguments)`` -> the class of inputs for which a choice holds, in words.
            Inputs that need gradients are of another class than those that do not.
        seconds: ``(call, device)`` -> the seconds that ``call()`` takes.
        folder: Returns the folder of the file.
        card: Returns the name of a device.
    """

    def __init__(
        self,
        operator: str,
        inputs_text: Callable[..., str],
        seconds: Callable[[Callable[[], object], torch.device], float] = gpu_seconds,
        folder: Callable[[], Path] = cache_folder,
        card: Callable[[torch.device], str] = torch.cuda.get_device_name,
    ) -> None:
        self.operator, self._inputs_text = operator, inputs_text
        self._seconds, self._folder, self._card = seconds, folder, card
        self._chosen: dict[tuple[torch.device, str], Run] = {}
        self._dropped: set[str] = set()
        self._lock = threading.Lock()

    def choose(self, candidates: Callable[[], Mapping[str, Run]], *arguments: Any) -> Run:
        """Return the fastest candidate.

        Args:
            candidates: Returns the implementations by name, each called with the arguments. The
                first one is the reference for the results of the others.
            *arguments: Arguments of the call, a tensor first. They are not modified.
        """
        training = torch.is_grad_enabled() and any(map(_needs_gradient, arguments))
        kind = f'{self._inputs_text(*arguments)}, {"training" if training else "inference"}'
        key = arguments[0].device, kind
        # Outside the lock: reading a dictionary is atomic.
        run = self._chosen.get(key)
        if run is not None:
            return run
        with self._lock:
            return self._chosen.get(key) or self._look_up(candidates(), arguments, key, training)

    def _look_up(
        self,
        candidates: Mapping[str, Run],
        arguments: Sequence[Any],
        key: tuple[torch.device, str],
        training: bool,
    ) -> Run:
        device, kind = key
        first = next(iter(candidates))
        usable = {
            name: run
            for name, run in candidates.items()
            if name == first or name not in self._dropped
        }
        name: str | None = first
        if len(usable) > 1:
            file = self._folder() / f'{self._file_name(device)}.json'
            name = _read(file).get(kind)
            if name not in usable:
                # A thread has none of the hooks, modes and autocast of this call.
                with ThreadPoolExecutor(1) as thread:
                    name = thread.submit(self._fastest, usable, first, arguments, training).result()
                if name is None:
                    return candidates[first]
                _write(file, kind, name)
        assert name is not None
        self._chosen[key] = usable[name]
        return usable[name]

    def _file_name(self, device: torch.device) -> str:
        parts = self.operator, self._card(device), torch.__version__, __version__
        return re.sub(r'[^\w.+-]+', '-', '_'.join(parts))

    def _fastest(
        self, candidates: Mapping[str, Run], first: str, arguments: Sequence[Any], training: bool
    ) -> str | None:
        device = arguments[0].device
        try:
            with _on(device):
                inputs = [
                    value.detach().requires_grad_(training and value.requires_grad)
                    if isinstance(value, Tensor)
                    else value
                    for value in arguments
                ]
                with _exact_products():
                    expected = _results(candidates[first], inputs, training)
                if not all(bool(value.isfinite().all()) for value in expected):
                    return None
                steps = {first: _step(candidates[first], inputs, training)}
                for name, run in candidates.items():
                    if name != first and self._is_correct(name, run, inputs, training, expected):
                        steps[name] = _step(run, inputs, training)
                del expected
                times: dict[str, list[float]] = {name: [] for name in steps}
                for _ in range(_ROUNDS):
                    for name, step in steps.items():
                        times[name].append(self._seconds(step, device))
        except Exception:
            return None
        return min(times, key=lambda name: statistics.median(times[name]))

    def _is_correct(
        self,
        name: str,
        run: Run,
        inputs: Sequence[Any],
        training: bool,
        expected: Sequence[Tensor],
    ) -> bool:
        try:
            error = max(
                _difference(value, other) / TOLERANCE.get(value.dtype, _SINGLE)
                for value, other in zip(_results(run, inputs, training), expected, strict=True)
            )
            reason = None if error <= 1 else 'its results differ from those of the reference'
        except torch.OutOfMemoryError:
            raise
        except Exception as raised:
            lines = str(raised).strip().splitlines()
            reason = f'it raised {type(raised).__name__}' + (f': {lines[0]}' if lines else '')
        if reason is not None:
            self._dropped.add(name)
            warnings.warn(
                f'{self.operator} does not use backend {name!r} in this process: {reason}; '
                'please report this.',
                stacklevel=2,
            )
        return reason is None


def _needs_gradient(value: object) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _results(run: Run, inputs: Sequence[Any], training: bool) -> tuple[Tensor, ...]:
    """Return the results and, in training, the gradients of the inputs that need one.

    Results of an integer dtype are omitted: rounding may change a count.
    """
    with torch.set_grad_enabled(training):
        results = run(*inputs)
    results = (results,) if isinstance(results, Tensor) else tuple(results)
    output, *others = (value for value in results if value.is_floating_point())
    if not training:
        return output, *others
    # Different elements, so that a permuted gradient does not go unnoticed.
    grad = torch.linspace(-1, 1, output.numel(), device=output.device, dtype=output.dtype)
    wanted = [value for value in inputs if _needs_gradient(value)]
    grads = torch.autograd.grad(output, wanted, grad.view_as(output))
    return output.detach(), *others, *grads


def _step(run: Run, inputs: Sequence[Any], training: bool) -> Callable[[], object]:
    return lambda: _results(run, inputs, training)


def _difference(value: Tensor, expected: Tensor) -> float:
    if value.shape != expected.shape or value.dtype != expected.dtype:
        return float('inf')
    value, expected = value.double(), expected.double()
    largest = expected.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
    error = ((value - expected).abs().amax() / largest).item()
    return error if error == error else float('inf')


@contextlib.contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """Select the device, and allow waiting for it."""
    if device.type != 'cuda':
        yield
        return
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode(0)
    try:
        with torch.cuda.device(device):
            # The inputs may come from another stream.
            torch.cuda.synchronize(device)
            yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@contextlib.contextmanager
def _exact_products() -> Iterator[None]:
    """Compute matrix products in full single precision, whatever the user allows."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)


def _read(file: Path) -> dict[str, str]:
    try:
        content = parse_json(file.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: name for key, name in content.items() if isinstance(name, str)}


def _write(file: Path, kind: str, name: str) -> None:
    """Add a choice to a file, which other processes may read or write meanwhile.

    The last of two writers wins; the loser's choice is measured again by the next run.
    """
    part = file.with_name(f'{file.name}.{os.getpid()}.tmp')
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(
            json.dumps({**_read(file), kind: name}, indent=1, sort_keys=True), encoding='utf-8'
        )
        part.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
