"""The toolbox's runner, extended to CPU-only machines, exact resuming and precise errors."""

from __future__ import annotations

import errno
import functools
import logging
import os
import re
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner
from mmengine.runner.checkpoint import get_external_models
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm
from torch.utils.data import DataLoader

from mmseg_encnet import toolbox_changes
from mmseg_encnet.checkpoints.content import check_optimizer_shapes
from mmseg_encnet.checkpoints.downloads import DownloadError
from mmseg_encnet.checkpoints.fit import UnfitWeightsError, check_finite
from mmseg_encnet.checkpoints.plain_loading import UnreadableFileError
from mmseg_encnet.checkpoints.remote import local_file
from mmseg_encnet.checkpoints.toolbox_hosts import HOSTS, addresses
from mmseg_encnet.configuration.tree import walk
from mmseg_encnet.datasets.checked import build_checked_dataset
from mmseg_encnet.disk import is_shared_memory
from mmseg_encnet.errors import UserError, first_line, printable, type_and_first_line
from mmseg_encnet.models.head_inputs import check_head_inputs
from mmseg_encnet.resuming.adapting import divide_batch
from mmseg_encnet.resuming.find import find_resumable
from mmseg_encnet.resuming.seeded_samplers import detach_from_process
from mmseg_encnet.running.data_workers import LoadingProcess
from mmseg_encnet.running.explain import explain
from mmseg_encnet.running.hooks.data_check_hook import DataCheckHook
from mmseg_encnet.running.hooks.fit_check_hook import FitCheckHook
from mmseg_encnet.running.hooks.label_check_hook import LabelCheckHook
from mmseg_encnet.running.hooks.label_type_hook import LabelTypeHook
from mmseg_encnet.running.hooks.loss_check_hook import LossCheckHook
from mmseg_encnet.running.hooks.rehearsal_hook import RehearsalHook
from mmseg_encnet.running.hooks.stall_hook import StallHook
from mmseg_encnet.running.hooks.stop_hook import GateHook, StopHook
from mmseg_encnet.running.rehearsal.loops import (
    check_evaluation_loop,
    check_scheduler_ranges,
    check_train_loop,
)
from mmseg_encnet.running.rehearsal.validation import why_not_evaluated
from mmseg_encnet.running.score_needs import drop_scores
from mmseg_encnet.running.shared_memory import guard_workers
from mmseg_encnet.running.tracking import check_backend

# In PyTorch's message if a parameter has no gradient in a process group.
_UNUSED = 'Expected to have finished reduction in the prior iteration'
# The toolbox's wrapper for several processes.
_DATA_PARALLEL = 'MMDistributedDataParallel'
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_WHILE_BUILDING = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    FileNotFoundError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


def _reason(error: Exception, place: traceback.FrameSummary) -> str:
    """Return what an error says or, for an assertion without a message, its condition."""
    if isinstance(error, AssertionError) and not str(error).strip() and place.line:
        return place.line
    return ' '.join(type_and_first_line(error).split())


def _built_from(part: str) -> Callable[[Callable], Callable]:
    """Decorate a method that builds a part of the config, to name that part in its errors."""

    def decorate(build: Callable) -> Callable:
        @functools.wraps(build)
        def build_or_explain(*args, **kwargs) -> Any:
            try:
                return build(*args, **kwargs)
            except _WHILE_BUILDING as error:
                # With several processes, the cause may be in another one.
                lost = isinstance(error, RuntimeError) and torch.distributed.is_initialized()
                explained = not isinstance(error, FileNotFoundError) and explain(error) is not None
                if lost or explained:
                    raise
                place = traceback.extract_tb(error.__traceback__)[-1]
                raise UserError(
                    f'{part} of the config cannot be built: '
                    f'{_reason(error, place)} '
                    f'({Path(place.filename).name}, line {place.lineno}); correct it in the '
                    'config or in --cfg-options.'
                ) from error

        return build_or_explain

    return decorate


def _watched(run: Callable) -> Callable:
    """Decorate a run to stop watching its progress when an exception ends it."""

    @functools.wraps(run)
    def run_watched(self: EncNetRunner) -> Any:
        try:
            return run(self)
        finally:
            for hook in self.hooks:
                if isinstance(hook, StallHook):
                    hook.close()

    return run_watched


class EncNetRunner(Runner):
    """:class:`mmengine.runner.Runner` with the checks and extensions of this project.

    - Every sample and every checkpoint is checked, see
      :mod:`mmseg_encnet.datasets.checked` and :mod:`mmseg_encnet.checkpoints.fit`.
    - Before the first iteration, it looks for mistakes that would otherwise surface later, see
      :mod:`mmseg_encnet.running.rehearsal`.
    - In a process group without GPUs, the model is wrapped for the CPU, and synchronised batch
      norm, which PyTorch cannot train there, falls back to plain batch norm with a warning.
    - With any config, training survives a kill and resumes exactly, see
      :mod:`mmseg_encnet.resuming`, and stops at a non-finite loss or if no pixel is labelled, see
      :mod:`mmseg_encnet.running.hooks`. A full disk ends it in one sentence.
    - The resolved config is written as ``config.py``: under its own name it would be a second
      file of that name in an editable install, and ``mim`` refuses to choose between the two.

    Attributes:
        accepted_changes: Kinds of changes with which a run resumes, see
            :mod:`mmseg_encnet.configuration.kinds`.
        resume_command: How to continue a training that was stopped, for the message.
    """

    accepted_changes: Collection[str] = ()
    resume_command = '--resume'

    from_cfg = classmethod(_built_from('an entry')(Runner.from_cfg.__func__))
    setup_env = _built_from('env_cfg')(Runner.setup_env)
    build_optim_wrapper = _built_from('optim_wrapper')(Runner.build_optim_wrapper)
    scale_lr = _built_from('auto_scale_lr')(Runner.scale_lr)

    @_built_from('randomness')
    def set_randomness(self, **options: Any) -> None:
        # Without a seed, which the toolbox requires, it draws one.
        super().set_randomness(**dict(dict(seed=None), **options))
        if self.deterministic:
            # cuBLAS reads it when it is first used; without it, PyTorch refuses to multiply.
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')

    @_built_from('model')
    def build_model(self, model: nn.Module | dict) -> nn.Module:
        model = super().build_model(model)
        check_head_inputs(model)
        return model

    @_built_from('param_scheduler')
    def build_param_scheduler(self, scheduler: Any) -> Any:
        if isinstance(self._train_loop, BaseLoop):
            check_scheduler_ranges(scheduler, self._train_loop)
        return super().build_param_scheduler(scheduler)

    @_built_from('train_cfg or train_dataloader')
    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        loop = super().build_train_loop(loop)
        check_train_loop(loop)
        return loop

    @_built_from('val_cfg, val_dataloader or val_evaluator')
    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        loop = super().build_val_loop(loop)
        check_evaluation_loop(loop, 'val')
        drop_scores(self.model, loop.evaluator)
        return loop

    @_built_from('test_cfg, test_dataloader or test_evaluator')
    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        loop = super().build_test_loop(loop)
        check_evaluation_loop(loop, 'test')
        drop_scores(self.model, loop.evaluator)
        return loop

    @_built_from('visualizer')
    def build_visualizer(self, visualizer: Any) -> Any:
        # The toolbox imports the package of a backend when something is logged.
        backends = visualizer.get('vis_backends') if isinstance(visualizer, dict) else None
        for backend in backends or ():
            check_backend(backend)
        return super().build_visualizer(visualizer)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict[str, Any],
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        if isinstance(dataloader, dict) and isinstance(dataloader.get('dataset'), dict):
            dataloader = dict(dataloader, dataset=build_checked_dataset(dataloader['dataset']))
            sampler = dataloader.get('sampler')
            if isinstance(sampler, dict):
                dataloader['sampler'] = toolbox_changes.replaced(sampler)
        dataloader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        detach_from_process(dataloader)
        guard_workers(dataloader)
        dataloader.worker_init_fn = LoadingProcess(
            dataloader.num_workers, dataloader.worker_init_fn
        )
        return dataloader

    @_built_from('default_hooks or custom_hooks')
    def register_hooks(self, default_hooks=None, custom_hooks=None) -> None:
        if default_hooks is not None:
            default_hooks = {
                name: hook if hook is None else toolbox_changes.replaced(hook)
                for name, hook in default_hooks.items()
            }
        custom_hooks = [toolbox_changes.replaced(hook) for hook in custom_hooks or ()]
        super().register_hooks(default_hooks, custom_hooks)
        for hook in (
            RehearsalHook,
            FitCheckHook,
            DataCheckHook,
            LabelCheckHook,
            LabelTypeHook,
            LossCheckHook,
            StopHook,
            GateHook,
            StallHook,
        ):
            if not any(isinstance(registered, hook) for registered in self.hooks):
                self.register_hook(hook())

    def build_logger(self, *args, **kwargs) -> Any:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            handler.addFilter(_without_control_characters)
            if isinstance(handler, logging.FileHandler):
                # The default prints a traceback for each line that does not fit on the disk.
                handler.handleError = _reraise
                # The encoding of the environment may lack the names of classes or files.
                handler.stream.reconfigure(encoding='utf-8', errors='backslashreplace')
        return logger

    @_watched
    def train(self) -> nn.Module:
        if self._resume and self._load_from is None:
            self._load_from = find_resumable(
                self.work_dir, lambda sentence: self.logger.warning(printable(sentence))
            )
            self._resume = self._load_from is not None
        if self._resume:
            divide_batch(self)
        try:
            return super().train()
        except RuntimeError as error:
            if _UNUSED not in str(error):
                raise
            raise UserError(_what_is_unused(self.model, str(error))) from error
        except OSError as error:
            if error.errno not in _DISK_FULL or is_shared_memory(error):
                raise
            raise UserError(
                f'work dir {self.work_dir} cannot be written ({error.strerror}); free space there '
                'and continue from the last checkpoint with --resume.'
            ) from error

    @_watched
    def val(self) -> dict[str, float]:
        return super().val()

    @_watched
    def test(self) -> dict[str, float]:
        try:
            return super().test()
        except (KeyError, TypeError) as error:
            # From a metric.
            if isinstance(self._test_loop, BaseLoop):
                dataset = self._test_loop.dataloader.dataset
                reason = why_not_evaluated(dataset, dataset[0], 'test')
                if reason:
                    raise UserError(reason) from error
            raise

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        options = dict(model_wrapper_cfg or {})
        plain = options.pop('type', _DATA_PARALLEL) == _DATA_PARALLEL
        if not self.distributed or get_device() != 'cpu' or not plain:
            return super().wrap_model(model_wrapper_cfg, model)
        if any(isinstance(module, SyncBatchNorm) for module in model.modules()):
            self.logger.warning(
                'SyncBatchNorm cannot train on the CPU in a process group; every process '
                'normalises over its own part of the batch instead.'
            )
            model = revert_sync_batchnorm(model)
        return MMDistributedDataParallel(
            module=model,
            **{
                'broadcast_buffers': False,
                'find_unused_parameters': self.cfg.get('find_unused_parameters', False),
                **options,
            },
        )

    def load_checkpoint(self, filename: str, *args, **kwargs) -> dict:
        filename = local_file(filename)
        with _explaining(f'checkpoint {filename}'):
            checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        # Resuming would execute the config there, which can be from anyone.
        if isinstance(checkpoint.get('meta'), dict):
            checkpoint['meta'].pop('config', None)
        return checkpoint

    def resume(self, filename: str, *args, **kwargs) -> None:
        with _explaining(f'checkpoint {filename}'):
            super().resume(filename, *args, **kwargs)
            if isinstance(self.optim_wrapper, OptimWrapper):
                check_optimizer_shapes(self.optim_wrapper.optimizer)

    def _init_model_weights(self) -> None:
        if self._resume:
            # All weights will be restored; downloading ImageNet weights first would make a resumed
            # run depend on the network.
            return
        entry = next(_pretrained_entries(self.cfg), None)
        if entry is None:
            super()._init_model_weights()
            return
        key, name = entry
        with _explaining(f'the file of pretrained weights {name} named by {key}'):
            try:
                super()._init_model_weights()
            except DownloadError as error:
                raise UserError(
                    f'{error}, or train from scratch with --cfg-options {key}=None'
                ) from error
            except (URLError, ConnectionError, TimeoutError) as error:
                raise UserError(_how_to_get_weights(key, name, error)) from error
            check_finite(self.model.state_dict(), dict(self.model.named_buffers()))

    @master_only
    def dump_config(self) -> None:
        self.cfg.dump(str(Path(self.work_dir) / 'config.py'))


def _what_is_unused(model: nn.Module, message: str) -> str:
    """Return the sentence for parameters without a gradient, listed in PyTorch's message."""
    listed = re.search(r'did not receive grad for rank \d+: ([\d ]+)', message)
    names = [name for name, value in model.module.named_parameters() if value.requires_grad]
    unused = [names[int(index)] for index in listed.group(1).split()] if listed else []
    shown = ', '.join(unused[:3]) + ', ...' * (len(unused) > 3) or 'some parameters'
    return (
        f'{shown} did not contribute to the loss, but in several processes every parameter must; '
        'set find_unused_parameters=True in the config or with --cfg-options, or remove the '
        'unused layers.'
    )


def _without_control_characters(record: logging.LogRecord) -> bool:
    """Escape control characters in a log message, which may contain names from files."""
    text = record.getMessage()
    shown = printable(text, keep='\n\t')
    if shown != text:
        record.msg, record.args = shown, None
    return True


def _reraise(record: logging.LogRecord) -> None:
    # Called in the except clause of the error.
    raise


@contextmanager
def _explaining(file: str) -> Iterator[None]:
    """Turn errors in reading a file of weights into sentences that name it."""
    try:
        yield
    except UnreadableFileError as error:
        raise UserError(f'{file} {error.reason}') from error
    except UnfitWeightsError as error:
        raise UserError(f'{file} {error}') from error
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f'{file} does not exist; check the path.') from error
    except OSError as error:
        if explain(error) is not None:
            raise
        raise UserError(f'{file} cannot be read ({first_line(error)}); check its disk.') from error
    except (
        AssertionError,
        AttributeError,
        EOFError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        # The content matches neither the model nor the training state.
        raise UserError(
            f'{file} cannot be read ({type_and_first_line(error)}); it is truncated or not a '
            'checkpoint.'
        ) from error


def _how_to_get_weights(key: str, name: str, error: Exception) -> str:
    url = name
    if name.startswith('open-mmlab://'):
        url = get_external_models().get(name.removeprefix('open-mmlab://'), name)
    if not url.startswith('http'):
        url = f'https://download.openmmlab.com/{url}'
    place = Path(torch.hub.get_dir()) / 'checkpoints' / Path(url).name
    if url.startswith(HOSTS):
        url = ' or '.join(addresses(url))
    return (
        f'the weights {name!r} named by {key} cannot be downloaded ({first_line(error)}); '
        f'download {url} and put it at {place}, or train from scratch with --cfg-options '
        f'{key}=None'
    )


def _pretrained_entries(cfg: Config) -> Iterator[tuple[str, str]]:
    """Yield the config key and the name of all pretrained weights of the model."""
    for path, value in walk(cfg.model, 'model'):
        if path.endswith('.pretrained') and isinstance(value, str):
            yield path, value
        elif isinstance(value, dict) and value.get('type') == 'Pretrained':
            yield path, value['checkpoint']
