"""The model zoo page matches the metafile."""

from __future__ import annotations

import re
from collections import Counter

import yaml
from tiny_setup import ROOT

from mmseg_encnet.checkpoints.pytorch_encoding import BASE_URLS, ENCNET_SHA1
from mmseg_encnet.checkpoints.toolbox_hosts import HOSTS, addresses
from mmseg_encnet.workbench.model_zoo import write_page

METAFILE = ROOT / 'configs' / 'metafile.yml'


def test_the_page_is_up_to_date():
    written = (ROOT / 'docs' / 'model_zoo.md').read_text()
    assert written == write_page(METAFILE), 'run tools/analysis_tools/model_zoo.py'


def content() -> dict:
    return yaml.safe_load(METAFILE.read_text())


def results() -> list[dict]:
    """Return all published results, one dictionary for each training run."""
    models = [model for model in content()['Models'] if 'Results' in model]
    return [
        *({**model['Metadata'], **model, **model['Results'][0]} for model in models),
        *(other for model in models for other in model.get('Also Published', [])),
        *content()['Elsewhere'],
    ]


def test_a_row_for_every_model():
    rows = [line for line in write_page(METAFILE).splitlines() if line.startswith('| [')]
    models = content()['Models']
    listed = [row.split('[')[1].split(']')[0] for row in rows]
    assert Counter(listed) == {
        model['Name']: 1 + len(model.get('Also Published', [])) for model in models
    }


def test_every_result_has_a_row_with_recipe_source_and_weights():
    lines = write_page(METAFILE).splitlines()
    for result in results():
        figures = [
            f'{name.removeprefix("published ")} {value}'
            for name, value in result['Metrics'].items()
        ]
        text = f'{", ".join(figures)} ({result["Dataset"]}) | {result["Recipe"]} | '
        (row, *_) = [line for line in lines if text in line and result.get('Weights', '') in line]
        assert f'[{result["Published By"]}]({result["Published At"]})' in row
        # The link leads to a file at a commit, or to the paper.
        assert re.search(r'/blob/[0-9a-f]{7}/|arxiv\.org/abs/', result['Published At'])


def test_both_addresses_of_the_toolbox_s_weights_are_linked():
    page = write_page(METAFILE)
    urls = [result['Weights'] for result in results() if 'MMSeg' in result['Published By']]
    assert len(urls) == len(set(urls)) == 16
    for url in urls:
        assert url.startswith(HOSTS[0])
        assert all(f'({address})' in page for address in addresses(url))


def test_the_published_encnets_are_at_the_address_they_are_fetched_from():
    urls = {result.get('Weights', '') for result in results()}
    assert {f'{BASE_URLS[0]}{name}-{sha1[:8]}.zip' for name, sha1 in ENCNET_SHA1.items()} == {
        url for url in urls if url.startswith(BASE_URLS) and 'encnet' in url
    }
