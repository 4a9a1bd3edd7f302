"""Evaluation of a checkpoint for the report, cached in the run folder."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmseg.structures import SegDataSample
from torch import Tensor
from tqdm import tqdm

from mmseg_encnet.datasets.loading import read_for_display
from mmseg_encnet.errors import UserError
from mmseg_encnet.evaluation.metrics import ContextConsistency, PresenceMetric
from mmseg_encnet.models.parts import unwrapped
from mmseg_encnet.running.runner import EncNetRunner
from mmseg_encnet.values import brief, integer, mapping, number, sequence, text
from mmseg_encnet.visualization.context_sheet import draw_sample
from mmseg_encnet.visualization.style import png
from mmseg_encnet.workbench.benchmarks.measure import peak_bytes
from mmseg_encnet.workbench.formatting import parse_strict_json, strict_json
from mmseg_encnet.workbench.machine import describe_machine, machine_text
from mmseg_encnet.workbench.reporting.confusion import areas_of_classes, count_pixels

# Increase it when the content of the cache changes, to invalidate older caches.
FORMAT = 2
NUM_SHEETS = 4


@dataclass(frozen=True)
class EvaluationRecord:
    """The evaluation of one checkpoint on the test set of its config.

    Attributes:
        checkpoint: File name.
        dataset: Description of the data set.
        classes: Class names by index.
        palette: RGB colours by index.
        metrics: Metrics of the config's evaluators, and for a model with SE branch those of
            :class:`PresenceMetric` and :class:`ContextConsistency`.
        confusion: Pixels by class and prediction ``(C, C)`` int64, ground truth in rows.
        probabilities: Presence probabilities ``(images, C)`` float32; None without SE branch.
        present: Whether each class occurs in each image ``(images, C)`` bool.
        images_per_second: Throughput of the evaluation, including data loading.
        peak_memory: Peak bytes of inference on the first image, without weights and results.
        parameters: Number of parameters.
        parameters_at_inference: Number of parameters without auxiliary heads that do not predict.
        machine: Description of the machine.
        sheets: Context sheets as PNG, by the name of the image.
        areas: Intersection, predicted and true pixels of each class in each image, integers
            ``(images, 3, C)``.
    """

    checkpoint: str
    dataset: str
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    metrics: Mapping[str, float]
    confusion: np.ndarray
    probabilities: np.ndarray | None
    present: np.ndarray
    images_per_second: float
    peak_memory: int
    parameters: int
    parameters_at_inference: int
    machine: str
    sheets: Mapping[str, bytes]
    areas: np.ndarray | None = None

    @property
    def presence(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Probabilities and ground truth of images with labelled pixels; None without SE branch."""
        if self.probabilities is None:
            return None
        labelled = self.present.any(axis=1)
        return self.probabilities[labelled], self.present[labelled]


_ARRAYS = ('confusion', 'probabilities', 'present', 'areas')


def evaluation_record(cfg: Config, checkpoint: Path, folder: Path, title: str) -> EvaluationRecord:
    """Return the evaluation of a checkpoint, cached from an earlier call if possible.

    The folder of the cache has one folder per content of checkpoint and config; one that is not
    writable is ignored. ``title`` is that of the progress bar.

    Raises:
        UserError: Data or checkpoint are missing or do not match the config.
    """
    kept = folder / _identity(cfg, checkpoint)
    if kept.is_dir():
        return _load(kept)
    record = _evaluate(cfg, checkpoint, title)
    with contextlib.suppress(OSError):
        _save(record, kept)
    return record


def _identity(cfg: Config, checkpoint: Path) -> str:
    digest = hashlib.sha256()
    try:
        with checkpoint.open('rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(
            f'cannot read checkpoint {checkpoint}: {error.strerror}; check the path.'
        ) from error
    # The same run after its folder was moved.
    settings = {key: value for key, value in cfg.to_dict().items() if key != 'work_dir'}
    digest.update(json.dumps([FORMAT, settings], sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def _evaluate(cfg: Config, checkpoint: Path, title: str) -> EvaluationRecord:
    cfg = copy.deepcopy(cfg)
    cfg.load_from = str(checkpoint)
    cfg.resume = False
    cfg.launcher = 'none'
    cfg.log_level = 'ERROR'
    # ContextConsistency reads the scores.
    cfg.model.test_cfg = dict(cfg.model.get('test_cfg') or {}, keep_seg_logits=True)
    # The run's own backends would write to its log or to a tracking service.
    cfg.get('default_hooks', {}).pop('visualization', None)
    cfg.visualizer = dict(type='SegLocalVisualizer', name=f'report {os.urandom(8).hex()}')
    collected = _CollectHook(title)
    with tempfile.TemporaryDirectory() as work_dir:
        cfg.work_dir = work_dir
        runner = EncNetRunner.from_cfg(cfg)
        runner.register_hook(collected, priority='LOWEST')
        metrics = runner.test()
        peak_memory = collected.peak_memory(runner.model)
    if not collected.confusion.any():
        raise UserError(
            'the test set has no labelled pixels; set test_dataloader to a labelled split with '
            '--cfg-options.'
        )
    model = runner.model
    meta = runner.test_dataloader.dataset.metainfo
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    of_auxiliary = sum(size for name, size in sizes.items() if name.startswith('auxiliary_head.'))
    presence = getattr(unwrapped(model), 'presence_head', None)
    if presence is not None:
        of_auxiliary -= sum(parameter.numel() for parameter in presence.parameters())
    return EvaluationRecord(
        checkpoint=checkpoint.name,
        dataset=_describe_dataset(cfg, len(collected.present)),
        classes=list(meta['classes']),
        palette=[list(map(int, colour)) for colour in meta['palette']],
        metrics={
            key: float(value)
            for key, value in (metrics | collected.metrics()).items()
            if key not in ('time', 'data_time') and np.isscalar(value)
        },
        confusion=collected.confusion,
        probabilities=np.stack(collected.probabilities) if collected.probabilities else None,
        present=np.stack(collected.present),
        images_per_second=collected.images_per_second,
        peak_memory=peak_memory,
        parameters=sum(sizes.values()),
        parameters_at_inference=sum(sizes.values()) - of_auxiliary,
        machine=machine_text(describe_machine(torch.device(get_device()))),
        sheets=collected.sheets,
        areas=np.stack(collected.areas),
    )


class _CollectHook(Hook):
    """Collect what the report shows of each prediction during testing."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.present: list[np.ndarray] = []
        self.areas: list[np.ndarray] = []
        self.probabilities: list[np.ndarray] = []
        self.sheets: dict[str, bytes] = {}
        self.context_metrics = [PresenceMetric(), ContextConsistency()]

    def before_test(self, runner) -> None:
        dataset = runner.test_dataloader.dataset
        self.dataset, meta = dataset, dataset.metainfo
        self.num_classes = len(meta['classes'])
        for metric in self.context_metrics:
            metric.dataset_meta = meta
        self.confusion = np.zeros((self.num_classes, self.num_classes), np.int64)
        # Evenly spaced, and the same images for every run.
        count = min(NUM_SHEETS, len(dataset))
        self.shown = {index * len(dataset) // count for index in range(count)}
        self.bar = tqdm(total=len(dataset), desc=f'{self.title}: evaluation', unit='image')
        self.start = time.perf_counter()
        self.drawing = 0.0

    def before_test_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if batch_idx == 0:
            self.first = copy.deepcopy({key: value[:1] for key, value in data_batch.items()})
        for index, sample in enumerate(data_batch['data_samples'], start=len(self.present)):
            if index in self.shown:
                sample.set_metainfo(dict(context_maps=True))

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        for sample in outputs:
            if 'gt_sem_seg' not in sample:
                raise UserError(
                    f'image {sample.img_path} of the test set has no labels; set test_dataloader '
                    'to a labelled split with --cfg-options.'
                )
            counts = count_pixels(
                sample.gt_sem_seg.data, sample.pred_sem_seg.data, self.num_classes
            )
            self.confusion += counts
            self.areas.append(areas_of_classes(counts))
            if len(self.present) in self.shown:
                start = time.perf_counter()
                self.sheets[Path(sample.img_path).stem] = _sheet(sample, self.dataset)
                self.drawing += time.perf_counter() - start
            self.present.append(counts.sum(axis=1) > 0)
            if 'presence' in sample:
                self.probabilities.append(sample.presence.float().cpu().numpy())
                for metric in self.context_metrics:
                    metric.process(data_batch, [sample.to_dict()])
        self.bar.update(len(outputs))

    def after_test(self, runner) -> None:
        elapsed = time.perf_counter() - self.start - self.drawing
        self.images_per_second = len(self.present) / elapsed
        self.bar.close()

    def metrics(self) -> dict[str, float]:
        """Return the context metrics, empty without SE branch."""
        results: dict[str, float] = {}
        for metric in self.context_metrics if self.probabilities else ():
            results |= metric.evaluate(len(self.probabilities))
        return results

    def peak_memory(self, model: torch.nn.Module) -> int:
        """Return the peak bytes of inference on the first image, without weights and results."""

        def predict() -> list[Tensor]:
            samples = model.test_step(self.first)
            return [
                data.data for sample in samples for data in (sample.seg_logits, sample.pred_sem_seg)
            ]

        with torch.no_grad():
            return peak_bytes(predict, next(model.parameters()).device)


def _sheet(sample: SegDataSample, dataset: Any) -> bytes:
    """Return the context sheet of a prediction as PNG."""
    image = read_for_display(sample.img_path, dataset)
    return png(draw_sample(image, sample, dataset.metainfo, Path(sample.img_path).name))


def _describe_dataset(cfg: Config, num_images: int) -> str:
    dataset = cfg.test_dataloader.dataset
    prefix = dataset.get('data_prefix') or {}
    parts = [
        dataset.type,
        *(dataset.get(key) for key in ('split', 'ann_file')),
        prefix.get('img_path'),
        f'{num_images} images',
    ]
    return ', '.join(str(part) for part in parts if part)


def _save(record: EvaluationRecord, folder: Path) -> None:
    """Write a record atomically."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix='.') as staging:
        whole = Path(staging, 'whole')
        whole.mkdir()
        fields = {
            key: value for key, value in vars(record).items() if key not in (*_ARRAYS, 'sheets')
        }
        fields['sheets'] = list(record.sheets)
        (whole / 'evaluation.json').write_text(strict_json(fields, indent=2), encoding='utf-8')
        np.savez_compressed(
            whole / 'arrays.npz',
            **{key: getattr(record, key) for key in _ARRAYS if getattr(record, key) is not None},
        )
        for number, content in enumerate(record.sheets.values()):
            (whole / f'sheet_{number}.png').write_bytes(content)
        try:
            whole.rename(folder)
        except OSError:
            # Another process may have finished the same evaluation.
            if not folder.is_dir():
                raise


def _load(folder: Path) -> EvaluationRecord:
    try:
        fields: dict[str, Any] = dict(
            mapping(
                parse_strict_json((folder / 'evaluation.json').read_text('utf-8')), 'its content'
            )
        )
        with np.load(folder / 'arrays.npz', allow_pickle=False) as arrays:
            fields.update({key: arrays.get(key) for key in _ARRAYS})
        fields['sheets'] = {
            name: (folder / f'sheet_{number}.png').read_bytes()
            for number, name in enumerate(fields['sheets'])
        }
        record = EvaluationRecord(**fields)
        _check(record)
        return record
    except (OSError, ValueError, TypeError, LookupError, BadZipFile, zlib.error) as error:
        reason = str(error) if isinstance(error, UserError) else type(error).__name__
        raise UserError(
            f'cannot use the cached evaluation {folder} ({reason}); delete the folder to evaluate '
            'the checkpoint again.'
        ) from error


def _check(record: EvaluationRecord) -> None:
    """Check the types and shapes in a record from a file.

    Raises:
        UserError: One is impossible; the message starts with a verb.
    """
    for key in ('checkpoint', 'dataset', 'machine'):
        text(getattr(record, key), key)
    classes = [text(name, 'a class') for name in sequence(record.classes, 'classes')]
    for colour in sequence(record.palette, 'palette', len(classes)):
        for value in sequence(colour, 'a colour', 3):
            integer(value, 'a colour', 0, 255)
    for name, value in mapping(record.metrics, 'metrics').items():
        number(value, f'metric {brief(name)}')
    for key in ('peak_memory', 'parameters', 'parameters_at_inference'):
        integer(getattr(record, key), key)
    number(record.images_per_second, 'images_per_second')
    size = len(classes)
    images = len(record.present) if record.present is not None and record.present.ndim else -1
    for key, array, shape, kinds in (
        ('confusion', record.confusion, (size, size), 'iu'),
        ('present', record.present, (images, size), 'b'),
        ('probabilities', record.probabilities, (images, size), 'f'),
    ):
        if array is None and key == 'probabilities':
            continue
        if array is None or array.shape != shape or array.dtype.kind not in kinds:
            raise UserError(f'has another array {key} than {size} classes need')
