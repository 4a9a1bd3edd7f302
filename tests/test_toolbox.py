"""Errors about a missing, mixed or unsupported toolbox, and what works without one."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mmseg_encnet import toolbox

ROOT = Path(__file__).resolve().parents[1]
MAINTAINED = {'onedl-mmcv': '2.3.6', 'onedl-mmengine': '0.10.12', 'onedl-mmsegmentation': '1.4.2'}
OPENMMLAB = {'mmcv': '2.1.0', 'mmengine': '0.10.7', 'mmsegmentation': '1.2.2'}

INSTALL_MAINTAINED = (
    'pip install "onedl-mmcv>=2.3.1,<3" "onedl-mmengine>=0.10.8,<1" '
    '"onedl-mmsegmentation>=1.4.0,<2"'
)
INSTALL_OPENMMLAB = (
    'pip install "setuptools<80" wheel "mmengine>=0.10.0,<1" "mmsegmentation>=1.2.0,<1.3" '
    'ftfy regex && pip install --no-cache-dir --no-build-isolation "mmcv>=2.0.0,<2.2.0"'
)
NOT_INSTALLED = (
    'mmseg_encnet needs the MMSegmentation toolbox, which is not installed; install it '
    f'with: {INSTALL_MAINTAINED}'
)
UNINSTALL_MAINTAINED = 'pip uninstall -y onedl-mmcv onedl-mmengine onedl-mmsegmentation'

# Installed versions, a part of the message, and the complete command that fixes it.
BROKEN = {
    'nothing': ({}, 'toolbox, which is not installed', INSTALL_MAINTAINED),
    'both families': (
        MAINTAINED | OPENMMLAB,
        'onedl-mmsegmentation 1.4.2 and mmcv 2.1.0',
        f'{UNINSTALL_MAINTAINED} mmcv mmengine mmsegmentation && {INSTALL_MAINTAINED}',
    ),
    'both families, one in part': (
        MAINTAINED | {'mmengine': '0.10.7'},
        'onedl-mmsegmentation 1.4.2 and mmengine 0.10.7',
        f'{UNINSTALL_MAINTAINED} mmengine && {INSTALL_MAINTAINED}',
    ),
    'maintained family and mmcv-lite': (
        MAINTAINED | {'mmcv-lite': '2.1.0'},
        'and mmcv-lite 2.1.0',
        f'{UNINSTALL_MAINTAINED} mmcv-lite && {INSTALL_MAINTAINED}',
    ),
    'families half and half': (
        {'onedl-mmcv': '2.3.6', 'onedl-mmengine': '0.10.12', 'mmsegmentation': '1.2.2'},
        'onedl-mmengine 0.10.12 and mmsegmentation 1.2.2',
        f'pip uninstall -y onedl-mmcv onedl-mmengine mmsegmentation && {INSTALL_MAINTAINED}',
    ),
    'half the maintained family': (
        {'onedl-mmengine': '0.10.12'},
        'without onedl-mmcv, onedl-mmsegmentation',
        INSTALL_MAINTAINED,
    ),
    "half of OpenMMLab's family": (
        {'mmcv': '2.1.0', 'mmengine': '0.10.7'},
        'without mmsegmentation',
        INSTALL_OPENMMLAB,
    ),
    'mmcv-lite': (
        {'mmcv-lite': '2.1.0', 'mmengine': '0.10.7', 'mmsegmentation': '1.2.2'},
        'mmcv-lite 2.1.0 is installed',
        f'pip uninstall -y mmcv-lite && {INSTALL_OPENMMLAB}',
    ),
    'maintained, too old': (
        MAINTAINED | {'onedl-mmsegmentation': '1.3.3'},
        'onedl-mmsegmentation 1.3.3 is installed',
        INSTALL_MAINTAINED,
    ),
    'maintained, too new': (
        MAINTAINED | {'onedl-mmcv': '3.0.0'},
        'onedl-mmcv 3.0.0 is installed',
        INSTALL_MAINTAINED,
    ),
    "OpenMMLab's, too old": (
        OPENMMLAB | {'mmsegmentation': '0.30.0'},
        'mmsegmentation 0.30.0 is installed',
        INSTALL_OPENMMLAB,
    ),
    "OpenMMLab's, too new": (
        OPENMMLAB | {'mmcv': '2.2.0'},
        'mmcv 2.2.0 is installed',
        INSTALL_OPENMMLAB,
    ),
}


@pytest.mark.parametrize(('versions', 'explanation', 'command'), BROKEN.values(), ids=BROKEN)
def test_a_broken_toolbox_is_reported_with_the_command_that_fixes_it(
    versions, explanation, command
):
    with pytest.raises(ImportError) as caught:
        toolbox.check_toolbox(versions)
    message = str(caught.value)
    assert explanation in message
    assert message.endswith(f'with: {command}')
    assert_one_sentence(message)


@pytest.mark.parametrize(
    'versions',
    [
        MAINTAINED,
        MAINTAINED | {'onedl-mmsegmentation': '1.4.0', 'onedl-mmcv': '2.3.1.post1'},
        OPENMMLAB,
        OPENMMLAB | {'mmcv': '2.1.0+cu121'},
    ],
    ids=['maintained', 'maintained, oldest', "OpenMMLab's", "OpenMMLab's, local build"],
)
def test_a_whole_family_passes(versions):
    toolbox.check_toolbox(versions)


def test_what_is_installed_here_is_found_and_passes():
    versions = toolbox.installed_versions()
    assert {name.removeprefix('onedl-') for name in versions} == set(toolbox.PARTS)
    toolbox.check_toolbox()


@pytest.mark.parametrize(
    ('extra', 'command'),
    [
        ('toolbox', INSTALL_MAINTAINED),
        ('openmmlab', INSTALL_OPENMMLAB),
    ],
    ids=['toolbox', 'openmmlab'],
)
def test_extras_and_commands_name_the_same_versions(extra, command):
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    extras = {
        str(Requirement(line))
        for line in setup['options.extras_require'][extra].split('\n')
        if line and not line.startswith('#')
    }
    commanded = {
        str(Requirement(word))
        for word in shlex.split(command)
        if re.match(r'\w', word) and word not in ('pip', 'install')
    }
    assert extras == commanded - {'setuptools<80', 'wheel'}


@pytest.fixture
def bare_run(tmp_path: Path):
    """Run a program with only the package and the given distributions and modules."""
    (tmp_path / 'mmseg_encnet').symlink_to(ROOT / 'mmseg_encnet')

    def run(
        program: str, versions: dict[str, str], modules: dict[str, str]
    ) -> subprocess.CompletedProcess:
        for name, version in versions.items():
            folder = tmp_path / f'{name.replace("-", "_")}-{version}.dist-info'
            folder.mkdir()
            (folder / 'METADATA').write_text(
                f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
            )
        for name, source in modules.items():
            (tmp_path / f'{name}.py').write_text(source)
        # -I -S: only the standard library, without the packages of this environment.
        program = f'import sys; sys.path.insert(0, {str(tmp_path)!r}); {program}'
        return subprocess.run(
            [sys.executable, '-I', '-S', '-B', '-c', program], capture_output=True, text=True
        )

    return run


def link_distributions(into: Path, *names: str) -> None:
    """Link the installed files of distributions and of their dependencies into a folder."""
    for name in names:
        distribution = metadata.distribution(name)
        for entry in {file.parts[0] for file in distribution.files} - {'..', '__pycache__'}:
            path = into / entry
            if not path.exists():
                path.symlink_to(distribution.locate_file(entry))
        requirements = map(Requirement, distribution.requires or ())
        link_distributions(
            into,
            *(
                requirement.name
                for requirement in requirements
                if (requirement.marker is None or requirement.marker.evaluate({'extra': ''}))
                and not list(into.glob(f'{requirement.name.replace("-", "_")}-*.dist-info'))
            ),
        )


CORE = """
import importlib.util, torch
for name in ('mmcv', 'mmengine', 'mmseg'):
    assert importlib.util.find_spec(name) is None
import mmseg_encnet
from mmseg_encnet.nn import ContextEncoding, Encoding
from mmseg_encnet.ops import encode

x = torch.randn(2, 8, 5, 5, requires_grad=True)
layer = Encoding(channels=8, num_codes=4)
assert torch.equal(layer(x), encode(x, layer.codewords, layer.scale))
layer(x).sum().backward()
assert x.grad.isfinite().all()
block = ContextEncoding(8, num_codes=4)
assert block(x).features.shape == x.shape
assert not {'mmcv', 'mmengine', 'mmseg'} & set(sys.modules)

missing = []
for use in (
    lambda: mmseg_encnet.get_encnet,
    lambda: mmseg_encnet.models,
    lambda: importlib.import_module('mmseg_encnet.models'),
    lambda: importlib.import_module('mmseg_encnet.running.runner'),
    lambda: importlib.import_module('mmseg_encnet.datasets.msrc21'),
):
    try:
        use()
    except ImportError as error:
        missing.append(str(error))
assert len(missing) == 5, missing
assert len(set(missing)) == 1, missing
print(missing[0])
"""


def test_ops_and_nn_work_with_torch_alone(bare_run, tmp_path):
    link_distributions(tmp_path, 'torch')
    (tmp_path / 'program.py').write_text(f'import sys\n{CORE}')
    result = bare_run('import program', {}, {})
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == NOT_INSTALLED


@pytest.mark.parametrize('use', ['mmseg_encnet.get_encnet', 'mmseg_encnet.models', 'from_import'])
def test_the_rest_raises_the_sentence_without_a_toolbox(bare_run, use):
    use = use if use != 'from_import' else 'from mmseg_encnet import hub'
    result = bare_run(f'import mmseg_encnet; {use}', {}, {})
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f'ImportError: {NOT_INSTALLED}'


def test_the_import_succeeds_without_a_toolbox(bare_run):
    result = bare_run('import mmseg_encnet; print(mmseg_encnet.__version__)', {}, {})
    assert result.returncode == 0, result.stderr
    result = bare_run('import mmseg_encnet; mmseg_encnet.nothing', {}, {})
    assert result.stderr.splitlines()[-1].startswith('AttributeError')


@pytest.mark.parametrize(
    ('versions', 'modules', 'sentence'),
    [
        (
            MAINTAINED | {'mmcv': '2.1.0'},
            {},
            "two families of the toolbox are installed and overwrite each other's files, "
            'onedl-mmcv 2.3.6, onedl-mmengine 0.10.12, onedl-mmsegmentation 1.4.2 and '
            f'mmcv 2.1.0; fix it with: {UNINSTALL_MAINTAINED} mmcv && {INSTALL_MAINTAINED}',
        ),
        (
            OPENMMLAB | {'mmcv': '2.2.0'},
            {},
            f'mmcv 2.2.0 is installed, but mmseg_encnet needs mmcv >=2.0.0,<2.2.0; fix it with: '
            f'{INSTALL_OPENMMLAB}',
        ),
        (
            OPENMMLAB,
            {'mmseg': 'import mmcv._ext', 'mmcv': ''},
            'the installed toolbox (mmcv 2.1.0, mmengine 0.10.7, mmsegmentation 1.2.2) cannot be '
            "imported (ModuleNotFoundError: No module named 'mmcv._ext'; 'mmcv' is not a "
            'package); reinstall it with: pip uninstall -y mmcv mmengine mmsegmentation && '
            f'{INSTALL_OPENMMLAB}',
        ),
        (
            MAINTAINED,
            {'mmseg': 'import torch'},
            'the toolbox needs PyTorch, which is not installed; install it with: pip install torch',
        ),
        (
            MAINTAINED,
            {
                'mmseg': 'raise ImportError("libGL.so.1: cannot open shared object file: No such '
                'file or directory")'
            },
            'the toolbox needs the system library libGL.so.1, which is not installed; on Debian '
            'and Ubuntu, install those of OpenCV with: apt-get install libgl1 libglib2.0-0',
        ),
        (
            MAINTAINED,
            {'mmseg': 'assert False'},
            'the installed toolbox (onedl-mmcv 2.3.6, onedl-mmengine 0.10.12, '
            'onedl-mmsegmentation 1.4.2) cannot be imported (AssertionError); reinstall it with: '
            f'{UNINSTALL_MAINTAINED} && {INSTALL_MAINTAINED}',
        ),
    ],
    ids=['both families', 'too new', 'mmcv without operators', 'no torch', 'no libGL', 'broken'],
)
def test_the_import_ends_with_the_sentence(bare_run, tmp_path, versions, modules, sentence):
    link_distributions(tmp_path, 'packaging')
    result = bare_run('import mmseg_encnet', versions, modules)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f'ImportError: {sentence}'


def assert_one_sentence(message: str) -> None:
    assert '\n' not in message
    assert not re.search(r'[.!?] ', message)
