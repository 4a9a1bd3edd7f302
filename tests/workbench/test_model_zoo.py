"""The model zoo page matches the metafile."""

from __future__ import annotations

import yaml
from tiny_setup import ROOT

from mmseg_encnet.checkpoints.pytorch_encoding import BASE_URL, ENCNET_SHA1
from mmseg_encnet.workbench.model_zoo import write_page

METAFILE = ROOT / 'configs' / 'metafile.yml'


def test_the_page_is_up_to_date():
    written = (ROOT / 'docs' / 'model_zoo.md').read_text()
    assert written == write_page(METAFILE), 'run tools/analysis_tools/model_zoo.py'


def test_a_row_for_every_model():
    page = write_page(METAFILE)
    rows = {
        line.split('[')[1].split(']')[0]: line
        for line in page.splitlines()
        if line.startswith('| [')
    }
    models = yaml.safe_load(METAFILE.read_text())['Models']
    assert rows.keys() == {model['Name'] for model in models}
    for model in models:
        row = rows[model['Name']]
        figures = [
            value for result in model.get('Results', []) for value in result['Metrics'].values()
        ]
        assert all(str(value) in row for value in figures)
        assert model.get('Weights', '') in row


def test_the_published_encnets_are_at_the_address_they_are_fetched_from():
    models = yaml.safe_load(METAFILE.read_text())['Models']
    urls = {model['Weights'] for model in models if BASE_URL in model.get('Weights', '')}
    assert urls == {f'{BASE_URL}{name}-{sha1[:8]}.zip' for name, sha1 in ENCNET_SHA1.items()}
