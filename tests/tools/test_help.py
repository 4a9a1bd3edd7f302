"""The tools parse their arguments without what takes seconds to import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tiny_setup import ROOT

from mmseg_encnet.configuration.command_line import EXPORT_FORMATS
from mmseg_encnet.exporting.formats import FORMATS

TOOLS = sorted(path.relative_to(ROOT / 'tools') for path in (ROOT / 'tools').rglob('*.py'))
HEAVY = ('torch', 'mmcv', 'mmseg', 'matplotlib', 'scipy')
IMPORTED = 71
# Registers after its arguments as the tools do, or as any other program at the import.
PROGRAM = """
{statement}
import sys
from mmseg_encnet.program import program
print('mmseg' in sys.modules, flush=True)

@program(lambda: None)
def main(args):
    from mmseg.registry import MODELS
    print('EncodingHead' in MODELS.module_dict)

main()
"""


def run(command, environment, folder):
    for name in HEAVY:
        (folder / f'{name}.py').write_text(f'import os; os._exit({IMPORTED})')
    environment['PYTHONPATH'] = f'{folder}{os.pathsep}{ROOT}'
    return subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize('tool', TOOLS, ids=str)
def test_help_imports_nothing_heavy(tool, environment, tmp_path):
    ended = run([ROOT / 'tools' / tool, '--help'], environment, tmp_path)
    assert ended.returncode != IMPORTED, ended.stderr
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith('usage: ')


@pytest.mark.parametrize(
    'command',
    [
        ['train.py'],
        ['train.py', 'config', '--resume', '--override', 'lr=0.1', '--cfg-options', 'a.b="[1,2]"'],
        ['infer.py', 'config', 'checkpoint', 'image', '--max-pixels', '0'],
        ['dataset_converters/ade20k.py', '--jobs', 'many'],
        ['model_converters/export.py', 'config', 'checkpoint', 'out', '--format', 'jpeg'],
        ['analysis_tools/memory_plan.py'],
    ],
    ids=lambda command: ' '.join(command[:1] + command[-2:]),
)
def test_arguments_are_parsed_before_it_is_imported(command, environment, tmp_path):
    ended = run([ROOT / 'tools' / command[0], *command[1:]], environment, tmp_path)
    # After valid arguments come the imports.
    assert ended.returncode == (IMPORTED if '--resume' in command else 2), ended.stderr


@pytest.mark.parametrize('tool', [True, False], ids=['tool', 'other program'])
def test_parts_are_registered_at_the_import_or_after_the_arguments(tool, environment, tmp_path):
    file = tmp_path / 'program.py'
    file.write_text(PROGRAM.format(statement='__mmseg_encnet_tool__ = True' if tool else ''))
    ended = subprocess.run(
        [sys.executable, file], env=environment, capture_output=True, text=True, check=True
    )
    printed = [line for line in ended.stdout.splitlines() if line in ('True', 'False')]
    assert printed == [str(not tool), 'True']


def test_the_formats_of_the_option_are_those_of_the_export():
    assert tuple(FORMATS) == EXPORT_FORMATS
