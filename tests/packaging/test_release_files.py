"""The files for releases repeat facts of setup.cfg and the Makefile; they must agree."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
import yaml

from mmseg_encnet.version import __version__

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / '.github' / 'workflows').glob('*.yml'))
# conda's names of packages whose name on the index differs.
CONDA_NAMES = {'matplotlib': 'matplotlib-base', 'opencv-python': 'py-opencv', 'torch': 'pytorch'}
pytestmark = pytest.mark.skipif(not WORKFLOWS, reason='the workflows are in the repository only')


def _setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / 'setup.cfg')
    return setup


def _requirements(lines: list[str]) -> dict[str, str]:
    matched = [re.fullmatch(r'([\w-]+) ?(.*)', line) for line in lines]
    return {match[1]: match[2] for match in matched}


def test_the_conda_recipe_has_the_requirements_and_version_of_the_package():
    recipe = yaml.safe_load((ROOT / 'conda' / 'recipe.yaml').read_text())
    assert recipe['context']['version'] == __version__
    listed = [line for line in _setup()['options']['install_requires'].split('\n') if line]
    wanted = {
        CONDA_NAMES.get(name, name): bound
        for name, bound in _requirements([line for line in listed if line[0] != '#']).items()
    }
    wanted['python'] = _setup()['options']['python_requires']
    assert _requirements(recipe['requirements']['run']) == wanted


def test_the_container_installs_the_torch_of_make():
    torch = re.search(r'^TORCH \?= (\S+)', (ROOT / 'Makefile').read_text(), re.MULTILINE)[1]
    assert f'ARG TORCH={torch}\n' in (ROOT / 'Dockerfile').read_text()


def test_the_workflows_test_every_supported_python():
    jobs = yaml.safe_load((ROOT / '.github' / 'workflows' / 'ci.yml').read_text())['jobs']
    tested = set(jobs['test']['strategy']['matrix']['python'])
    tested |= {
        step['with']['python-version']
        for step in jobs['check']['steps']
        if 'setup-python' in step.get('uses', '')
    }
    classifiers = _setup()['metadata']['classifiers']
    assert tested == set(re.findall(r'Python :: (3\.\d+)', classifiers))
    wheels = (ROOT / 'pyproject.toml').read_text()
    assert all(f'cp{version.replace(".", "")}-*' in wheels for version in tested)


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.name)
def test_jobs_have_only_the_permissions_they_declare(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow['permissions'] == {}
    assert all('permissions' in job for job in workflow['jobs'].values())


def test_the_release_page_gets_the_bill_of_materials_and_the_index_does_not():
    jobs = yaml.safe_load((ROOT / '.github' / 'workflows' / 'release.yml').read_text())['jobs']
    assert any(step.get('run') == 'make sbom' for step in jobs['sbom']['steps'])
    fetched = {
        name: {
            step['with'].get('pattern') or step['with']['name']
            for step in jobs[name]['steps']
            if 'download-artifact' in step.get('uses', '')
        }
        for name in ('publish', 'github')
    }
    assert fetched == {'publish': {'distribution-*'}, 'github': {'distribution-*', 'sbom'}}
    makefile = (ROOT / 'Makefile').read_text()
    assert (
        'cyclonedx-py environment' in makefile and 'dist/mmsegmentation-encnet.cdx.json' in makefile
    )


def test_vulnerabilities_are_looked_up_on_a_schedule():
    audit = yaml.safe_load((ROOT / '.github' / 'workflows' / 'audit.yml').read_text())
    # YAML reads the key `on` as true.
    assert audit[True]['schedule']
    assert audit['jobs']['audit']['steps'][-1]['run'] == 'make audit'
