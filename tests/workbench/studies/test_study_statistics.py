"""Tables, intervals and messages of a study, without training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.studies.definition import Run, load_study
from mmseg_encnet.workbench.studies.image_areas import ImageAreas, mean_iou
from mmseg_encnet.workbench.studies.page import write_page
from mmseg_encnet.workbench.studies.receptive_field import receptive_field
from mmseg_encnet.workbench.studies.results import (
    GIVEN_PRESENCE,
    ResultFolder,
    RunResult,
    sparse_areas,
)
from mmseg_encnet.workbench.studies.statistics import paired_interval, summarise

STUDY = """
title = 'Two'
config = 'encnet_r18_msrc21'
metric = 'mIoU'
baseline = 'EncNet'
seeds = [0, 1]
variants = [
    dict(name='EncNet'),
    dict(name='64 codewords', options={'model.decode_head.num_codes': 64}, group='K'),
    dict(name='never run', group='K'),
]
"""


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    path = tmp_path / 'two.py'
    path.write_text(STUDY)
    return path


def areas(right: float, images: int = 12, seed: int = 0) -> np.ndarray:
    """Return areas of images with two of four classes, with a share of correct pixels."""
    rng = np.random.default_rng(seed)
    result = np.zeros((images, 3, 4), dtype=np.int64)
    for image in result:
        for c in rng.choice(4, 2, replace=False):
            image[:, c] = int(100 * right), 100, 100
    return result


def result(run: Run, right: float, miou: float) -> RunResult:
    return RunResult(
        digest=run.digest(),
        metrics=dict(mIoU=miou),
        validation=[(16, miou / 2), (20, miou)],
        loss=[(10, 2.0), (20, 1.0)],
        areas=sparse_areas(areas(right)),
        num_classes=4,
        parameters=1_500_000,
        receptive_field=99,
        seconds_per_iteration=0.25,
        peak_memory=300 * 2**20,
        machine='a machine',
    )


def test_page_of_results(study_file: Path, tmp_path: Path) -> None:
    study, folder = load_study(study_file), ResultFolder(tmp_path / 'results')
    for seed, values in enumerate([(60.0, 80.0), (64.0, 82.0)]):
        for variant, right, miou in zip(study.variants, (0.6, 0.9), values):
            run = Run(variant, seed)
            finished = result(run, right, miou)
            finished.metrics[GIVEN_PRESENCE] = miou + 9
            folder.write(run, finished)
    crashed = Run(study.variants[2], 0)
    folder.write_crash(crashed, 'exit status 1: out of memory')

    assert [run.name for run in folder.missing(study.runs)] == [
        'never-run_seed0',
        'never-run_seed1',
    ]
    baseline, other, empty = summarise(study, folder)
    assert (baseline.mean, baseline.difference, baseline.interval) == (62, None, None)
    assert baseline.deviation == pytest.approx(np.sqrt(8))
    assert (other.mean, other.difference) == (81, 19)
    expected = mean_iou(areas(0.9).sum(0)) - mean_iou(areas(0.6).sum(0))
    # All images are alike, so resampling them changes nothing.
    assert other.interval == pytest.approx((expected, expected))
    assert np.isnan(empty.mean)

    page = write_page(study, [baseline, other, empty], tmp_path / 'page').read_text()
    assert (
        '| EncNet | 62.0 ± 2.8 | 2 of 2 |  |  | 71.0 | +31.0 | 1.50 M | 99 | 0.25 | 300 MiB |'
        in page
    )
    assert '| 64 codewords | 81.0 ± 1.4 | 2 of 2 | +19.0 | **' in page
    assert '| never run | crashed | 0 of 2 |' in page
    assert '- never run, seed 0: exit status 1: out of memory' in page
    assert (tmp_path / 'page' / 'two.png').stat().st_size > 10_000


def test_seconds_name_their_machine_where_there_are_two(study_file: Path, tmp_path: Path) -> None:
    study, folder = load_study(study_file), ResultFolder(tmp_path / 'results')
    for run, machine, seconds in zip(study.runs[::3] + study.runs[1:2], 'BAA', (0.5, 0.25, 0.3)):
        folder.write(
            run, replace(result(run, 0.5, 50.0), machine=machine, seconds_per_iteration=seconds)
        )
    page = write_page(study, summarise(study, folder), tmp_path / 'page').read_text()
    assert '| 0.25 a, 0.50 b |' in page
    assert '| 0.30 a |' in page
    assert 'Trained on a: A; b: B.' in page


def test_interval_is_paired_by_image() -> None:
    """Images vary while the difference is constant, so the interval is narrow."""
    rng = np.random.default_rng(0)
    base = areas(0.5, images=30)
    hard = rng.integers(10, 90, size=(30, 1))
    base[:, 0] = np.minimum(base[:, 1], hard)
    better = base.copy()
    better[:, 0] = np.where(base[:, 1] > 0, base[:, 0] + 5, 0)
    low, high = paired_interval([better], [base])
    assert 0 < low < high < 10
    assert paired_interval([base], [base]) == (0, 0)
    unpaired = [mean_iou(base[rng.integers(0, 30, 30)].sum(0)) for _ in range(200)]
    assert high - low < np.ptp(np.percentile(unpaired, [2.5, 97.5]))


def test_interval_covers_the_seeds() -> None:
    """All images are alike, so only the seeds vary: two of the three are drawn."""
    base, ours = areas(0.5), [areas(right) for right in (0.4, 0.5, 0.9)]
    low, high = paired_interval(ours, [base] * 3)
    worst, _, best = (mean_iou(part.sum(0)) - mean_iou(base.sum(0)) for part in ours)
    assert (low, high) == pytest.approx((worst, best))


def test_areas_given_the_presence_have_no_absent_class() -> None:
    scores = torch.tensor([[0.0, 0.0, 5.0, 0.0], [1.0, 0.0, 2.0, 3.0], [2.0, 9.0, 1.0, 1.0]])
    sample = dict(
        gt_sem_seg=dict(data=torch.tensor([[[1, 0, 0, 255]]])),
        seg_logits=dict(data=scores[:, None]),
    )
    metric = ImageAreas(given_presence=True)
    metric.dataset_meta = dict(classes=('a', 'b', 'c'))
    metric.process({}, [sample])
    (counted,) = metric.evaluate(1)['image_areas_given_presence']
    # Class c has the largest score in the first two pixels; in the second, a and b have the same.
    assert counted.tolist() == [[2, 1, 0], [2, 1, 0], [2, 1, 0]]


def test_image_areas_add_up_to_the_mean_iou() -> None:
    truth = torch.tensor([[[0, 0, 1, 255]], [[2, 2, 2, 0]]])
    prediction = torch.tensor([[[0, 1, 1, 1]], [[2, 2, 0, 0]]])
    metric = ImageAreas()
    metric.dataset_meta = dict(classes=('a', 'b', 'c', 'unseen'))
    metric.process(
        {},
        [
            dict(gt_sem_seg=dict(data=t[None]), pred_sem_seg=dict(data=p[None]))
            for t, p in zip(truth, prediction)
        ],
    )
    counted = metric.evaluate(2)['image_areas']
    # IoU of a: 2 of 4 pixels, b: 1 of 2, c: 2 of 3.
    assert mean_iou(counted.sum(0)) == pytest.approx(100 * (2 / 4 + 1 / 2 + 2 / 3) / 3)
    stored = RunResult('', {}, [], [], sparse_areas(counted), 4, 0, 0, 0.0, 0, '')
    assert np.array_equal(stored.image_areas(), counted)


def test_non_finite_numbers_are_stored_as_null(study_file: Path, tmp_path: Path) -> None:
    folder, run = ResultFolder(tmp_path / 'results'), load_study(study_file).runs[0]
    diverged = replace(result(run, 0.5, 50.0), loss=[(10, np.inf)], metrics=dict(mIoU=np.nan))
    folder.write(run, diverged)
    text = (tmp_path / 'results' / 'encnet_seed0.json').read_text()
    assert '"loss":[[10,null]]' in text and '"mIoU":null' in text
    read = folder.read(run)
    assert np.isnan(read.loss[0][1]) and np.isnan(read.metrics['mIoU'])


def test_results_of_another_config_are_refused(study_file: Path, tmp_path: Path) -> None:
    study, folder = load_study(study_file), ResultFolder(tmp_path / 'results')
    run = study.runs[0]
    folder.write(run, replace(result(run, 0.5, 50.0), digest='other'))
    with pytest.raises(UserError, match=r'encnet_seed0.json belongs to another config'):
        folder.missing(study.runs)
    (tmp_path / 'results' / 'encnet_seed0.json').write_text('{"digest": ')
    with pytest.raises(UserError, match=r'encnet_seed0.json is not a result'):
        folder.read(run)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (("metric = 'mIoU'\n", ''), ['lacks metric']),
        (('seeds', 'seed'), ['lacks seeds']),
        (("title = 'Two'", 'colour = 3'), ['unknown entry colour']),
        (("baseline = 'EncNet'", "baseline = 'FCN'"), ["'FCN'", '64 codewords']),
        (("'never run'", "'64 Codewords'"), ['two variants named 64-codewords']),
        (("dict(name='EncNet')", "dict(name='EncNet', option={})"), ['option', 'options']),
        (('seeds = [0, 1]', 'seeds = [0, 1'), ['cannot read', 'SyntaxError']),
    ],
)
def test_says_what_is_wrong_with_a_study(study_file: Path, change, words) -> None:
    study_file.write_text(STUDY.replace(*change))
    with pytest.raises(UserError) as raised:
        load_study(study_file)
    assert all(word in str(raised.value) for word in ['two.py', *words])


@pytest.mark.parametrize(
    ('layers', 'columns'),
    [
        ([(3, 1, 1)], 3),
        ([(3, 1, 1), (3, 1, 2)], 7),
        ([(3, 2, 1), (3, 1, 1)], 7),
        ([(1, 1, 1)], 1),
        ([(7, 2, 1), (3, 2, 4)], 23),
    ],
)
def test_receptive_field(layers, columns) -> None:
    """Layers are (kernel, stride, dilation); the columns are counted by hand."""
    convs = [torch.nn.Conv2d(3, 3, k, s, padding=d * (k // 2), dilation=d) for k, s, d in layers]

    class Backbone(torch.nn.Sequential):
        def forward(self, x):
            return [super().forward(x)]

    backbone = Backbone(
        *(part for conv in convs for part in (conv, torch.nn.BatchNorm2d(3), torch.nn.ReLU()))
    )
    weights = convs[0].weight.clone()
    assert receptive_field(backbone, width=128) == columns
    assert torch.equal(convs[0].weight, weights)


def test_full_size_takes_other_configs_and_options(study_file: Path) -> None:
    with pytest.raises(UserError, match='has no full_size'):
        load_study(study_file, full_size=True)
    study_file.write_text(
        STUDY + "options = {'train_cfg.max_iters': 5}\nfull_size = dict(configs={"
        "'encnet_r18_msrc21': 'encnet_r50_msrc21'})"
    )
    small, large = load_study(study_file), load_study(study_file, full_size=True)
    assert (small.name, large.name) == ('two', 'two-full')
    cfg = large.runs[1].load(Path('work'))
    assert (cfg.model.backbone.depth, cfg.model.decode_head.num_codes) == (50, 64)
    assert cfg.train_cfg.max_iters > small.runs[1].load(Path('work')).train_cfg.max_iters == 5


def test_a_variant_has_other_options_at_full_size(study_file: Path) -> None:
    study_file.write_text(
        STUDY.replace(
            "options={'model.decode_head.num_codes': 64}",
            "options={'model.decode_head.num_codes': 64}, "
            "full_size={'model.decode_head.num_codes': 128}",
        )
        + "full_size = dict(configs={'encnet_r18_msrc21': 'encnet_r50_msrc21'})"
    )
    codes = [
        load_study(study_file, full_size).runs[1].load(Path('work')).model.decode_head.num_codes
        for full_size in (False, True)
    ]
    assert codes == [64, 128]


@pytest.mark.parametrize('full_size', [False, True])
def test_auxiliary_heads_of_the_msrc21_study(full_size: bool) -> None:
    study = load_study(Path(__file__).parents[3] / 'studies/msrc21.py', full_size)
    (channels,) = {
        run.load(Path('work')).model.auxiliary_head.in_channels
        for run in study.runs
        if run.variant.name == 'EncNet'
    }
    heads = {
        run.variant.name: [head.type for head in run.load(Path('work')).model.auxiliary_head]
        for run in study.runs
        if run.seed == 0 and run.variant.group.startswith('auxiliary head')
    }
    assert heads == {
        'second SE loss': ['AuxEncodingHead'],
        'FCN and second SE loss': ['AuxFCNHead', 'AuxEncodingHead'],
    }
    for run in study.runs:
        if run.variant.name in heads:
            for head in run.load(Path('work')).model.auxiliary_head:
                assert (head.in_channels, head.in_index, head.num_classes) == (channels, 2, 21)


@pytest.mark.parametrize('full_size', [False, True])
@pytest.mark.parametrize('data', ['camvid', 'clothing', 'msrc21'])
def test_lite_studies_tune_the_backbone_on_published_losses(data: str, full_size: bool) -> None:
    study = load_study(Path(__file__).parents[3] / f'studies/{data}_lite.py', full_size)
    assert len(study.runs) == 70
    for run in study.runs[:14]:
        cfg = run.load(Path('work'))
        assert cfg.custom_hooks == []
        assert cfg.model.backbone.frozen_stages == 2
        head = cfg.model.decode_head
        weights = head.loss_decode.class_weight
        if 'weighted classes' in run.variant.name:
            assert len(weights) == head.num_classes and min(weights) < 1 < max(weights)
        else:
            assert weights is None
        assert cfg.train_dataloader.dataset.data_root == f'data/{data}'
