"""The tables in docs/study.md match the results in studies/results/."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_setup import ROOT

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.studies import page
from mmseg_encnet.workbench.studies.definition import load_study
from mmseg_encnet.workbench.studies.page import study_table, write_page
from mmseg_encnet.workbench.studies.results import ResultFolder
from mmseg_encnet.workbench.studies.statistics import area_metric, summarise

NAMES = (
    'clothing_lite',
    'clothing_lite_12',
    'clothing_lite_48',
    'camvid_lite',
    'msrc21_lite',
    'clothing_weights',
    'camvid_weights',
    'clothing_screening',
    'clothing_recipe',
    'camvid_screening',
    'msrc21',
    'camvid',
    'context_scenes',
)
# Of the others, every run is finished.
INCOMPLETE = {'msrc21': 46, 'clothing_lite_48': 16}


@pytest.mark.parametrize('name', NAMES)
def test_tables_are_those_of_the_results(name: str) -> None:
    study = load_study(ROOT / 'studies' / f'{name}.py')
    rows = summarise(study, ResultFolder(ROOT / 'studies' / 'results' / name))
    text = (ROOT / 'docs' / 'study.md').read_text()
    assert _unpadded(study_table(study, rows)) in _unpadded(text), (
        f'run: python tools/analysis_tools/study.py studies/{name}.py --only-summary'
    )


def _unpadded(markdown: str) -> str:
    return markdown.replace(' ', '')


@pytest.mark.parametrize('name', NAMES)
def test_areas_add_up_to_the_metric(name: str) -> None:
    study = load_study(ROOT / 'studies' / f'{name}.py')
    metric = area_metric(study)
    folder = ResultFolder(ROOT / 'studies' / 'results' / name)
    results = [result for run in study.runs if (result := folder.read(run)) is not None]
    assert len(results) >= INCOMPLETE.get(name, len(study.runs))
    assert [metric(result.image_areas().sum(axis=0)) for result in results] == pytest.approx(
        [result.metrics[study.metric] for result in results], abs=0.006
    )


def test_a_page_without_results_is_refused(tmp_path: Path) -> None:
    study = load_study(ROOT / 'studies' / 'msrc21.py')
    rows = summarise(study, ResultFolder(tmp_path / 'results'))
    with pytest.raises(UserError, match=r'no finished run of study msrc21.*--only-summary'):
        write_page(study, rows, tmp_path / 'page')
    assert not (tmp_path / 'page').exists()


def test_a_single_group_has_the_same_colours_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(ROOT / 'studies' / 'msrc21.py')
    rows = summarise(study, ResultFolder(ROOT / 'studies' / 'results' / 'msrc21'))
    rows = [row for row in rows if row.variant.group == rows[0].variant.group]
    drawn = []
    monkeypatch.setattr(page.style, 'write_figure', lambda figure, path: drawn.append(figure))
    page.draw(study, rows, tmp_path / 'figure.png')
    points, curves = drawn[0].axes
    of_points = dict(
        zip(
            [label.get_text() for label in points.get_yticklabels()],
            [line.get_color() for line in points.lines if line.get_marker() == 'o'],
        )
    )
    assert of_points == {line.get_label(): line.get_color() for line in curves.lines}
    assert len(set(of_points.values())) == len(rows) > 1
