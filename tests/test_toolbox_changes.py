"""Changes to the toolbox: applied, reverted, declined, lifted for one file, and documented."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mmengine.runner.checkpoint as toolbox_checkpoint
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmseg.apis import init_model
from mmseg.registry import MODELS
from pickled_code import Payload
from tiny_setup import MSRC21, ROOT

from mmseg_encnet import toolbox_changes
from mmseg_encnet.checkpoints import convert_checkpoint, plain_loading
from mmseg_encnet.checkpoints.whole_files import DamagedFileError
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError

PAGE = ROOT / 'docs' / 'toolbox_changes.md'


def state() -> tuple:
    return (
        CheckpointLoader.__dict__['load_checkpoint'],
        list(CheckpointLoader._schemes.items()),
        getattr(toolbox_checkpoint, 'get_torch_safe_globals', None),
        set(torch.serialization.get_safe_globals()),
        Config.__dict__['pretty_text'],
    )


@pytest.fixture
def reverted() -> Iterator[None]:
    """Yield the toolbox without the changes."""
    toolbox_changes.revert()
    yield
    toolbox_changes.revert()
    toolbox_changes.apply()


def test_configs_are_formatted_once(reverted, monkeypatch):
    calls = []
    formatted = Config.__dict__['pretty_text']

    def counted(self):
        calls.append(self)
        return formatted.__get__(self)

    monkeypatch.setattr(Config, 'pretty_text', property(counted))
    toolbox_changes.apply()
    configs = [Config(dict(a=[1, 2], b=dict(c='d'))) for _ in range(3)]
    assert {cfg.pretty_text for cfg in configs} == {formatted.__get__(configs[0])}
    assert len(calls) == 1
    configs[0].a = 3
    assert configs[0].pretty_text == formatted.__get__(configs[0])
    assert len(calls) == 2
    toolbox_changes.revert()


def test_applied_once_and_undone_exactly(reverted, tmp_path):
    before = state()
    toolbox_changes.apply()
    changed = state()
    assert changed[0] is not before[0] and changed[1] != before[1]
    toolbox_changes.apply()
    assert state() == changed
    # A load has no side effects, either.
    torch.save(dict(a=torch.ones(1)), tmp_path / 'a.pth')
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'))['a'] == 1
    toolbox_changes.revert()
    assert state() == before
    toolbox_changes.revert()
    assert state() == before


def test_another_packages_loader_stays_in_charge(reverted, tmp_path):
    own = CheckpointLoader._schemes['']
    calls = []

    def load_from_theirs(filename, map_location=None):
        calls.append((filename, os.environ.get(plain_loading.FORCED)))
        return own(filename, map_location)

    path = str(tmp_path / 'a.pth')
    torch.save(dict(a=torch.ones(1)), path)
    try:
        # A loader registered before ours is called through it, after the check of the file.
        CheckpointLoader.register_scheme('', load_from_theirs, force=True)
        toolbox_changes.apply()
        assert CheckpointLoader.load_checkpoint(path)['a'] == 1
        assert calls == [(path, '1')]
        Path(path).write_bytes(Path(path).read_bytes()[:200])
        with pytest.raises(DamagedFileError):
            CheckpointLoader.load_checkpoint(path)
        assert len(calls) == 1
        toolbox_changes.revert()
        assert CheckpointLoader._schemes[''] is load_from_theirs

        # A loader registered afterwards is kept when ours is reverted.
        CheckpointLoader.register_scheme('', own, force=True)
        toolbox_changes.apply()
        CheckpointLoader.register_scheme('', load_from_theirs, force=True)
        toolbox_changes.revert()
        assert CheckpointLoader._schemes[''] is load_from_theirs
    finally:
        CheckpointLoader.register_scheme('', own, force=True)


DECLINED = """
import os
import mmengine.runner.checkpoint as toolbox_checkpoint
from mmengine.runner import CheckpointLoader
load = CheckpointLoader.__dict__['load_checkpoint']
schemes = dict(CheckpointLoader._schemes)
safe_globals = getattr(toolbox_checkpoint, 'get_torch_safe_globals', None)
from mmseg_encnet import toolbox_changes
toolbox_changes.guard_process()
assert CheckpointLoader.__dict__['load_checkpoint'] is load
assert all(CheckpointLoader._schemes[prefix] is loader for prefix, loader in schemes.items())
assert getattr(toolbox_checkpoint, 'get_torch_safe_globals', None) is safe_globals
assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ
assert toolbox_changes.replaced(dict(type='CheckpointHook')) == dict(type='CheckpointHook')
"""


@pytest.mark.parametrize(
    'value, error', [('none', ''), ('some', 'got MMSEG_ENCNET_TOOLBOX_CHANGE')]
)
def test_the_environment_declines_everything(value, error, environment):
    environment[toolbox_changes.SWITCH] = value
    environment.pop(plain_loading.FORCED, None)
    ended = subprocess.run(
        [sys.executable, '-c', DECLINED], env=environment, capture_output=True, text=True
    )
    assert (ended.returncode == 0) == (not error), ended.stderr
    assert error in ended.stderr


@pytest.fixture
def files(tiny_options, tmp_path) -> list[Path]:
    """Return two checkpoints that need full unpickling, which creates a folder."""
    model = MODELS.build(load_config(str(MSRC21), tiny_options).model)
    paths = [tmp_path / 'trusted.pth', tmp_path / 'other.pth']
    for path in paths:
        content = dict(meta={}, state_dict=model.state_dict(), more=Payload(path.with_suffix('')))
        torch.save(content, path)
    return paths


@pytest.fixture(params=['trust', 'environment'])
def trusted(request, files, monkeypatch) -> Path:
    if request.param == 'trust':
        monkeypatch.setattr(plain_loading, '_trusted', set())
        toolbox_changes.trust(files[0])
    else:
        listed = os.pathsep.join(['/nowhere.pth', str(files[0].parent / '.' / files[0].name)])
        monkeypatch.setenv(plain_loading.TRUSTED, listed)
    return files[0]


@pytest.mark.parametrize('forced', [False, True])
def test_exactly_the_trusted_file_is_unpickled_in_full(
    forced, trusted, files, tiny_options, monkeypatch
):
    if not forced:
        monkeypatch.delenv(plain_loading.FORCED)
    other = files[1]
    cfg = load_config(str(MSRC21), tiny_options)
    marker = trusted.with_suffix('')
    reads = {
        'CheckpointLoader': lambda path: CheckpointLoader.load_checkpoint(str(path)),
        'init_model': lambda path: init_model(cfg, str(path), 'cpu'),
        'convert_checkpoint': lambda path: convert_checkpoint(path, path.with_name('converted')),
    }
    for name, read in reads.items():
        read(trusted)
        assert marker.is_dir(), name
        marker.rmdir()
        with pytest.raises(UserError, match=f'{other}.*could run code.*{plain_loading.TRUSTED}'):
            read(other)
        assert not other.with_suffix('').exists(), name
    assert os.environ.get(plain_loading.FORCED) == ('1' if forced else None)


@pytest.mark.parametrize('tool', ['test', 'train'])
def test_the_tools_unpickle_the_trusted_file_alone(tool, trusted, files, run_tool, tiny_options):
    for path in files:
        arguments, options = [path], tiny_options
        if tool == 'train':
            arguments, options = [], {**tiny_options, 'load_from': path, 'train_cfg.max_iters': 1}
        result = run_tool(tool, MSRC21, *arguments, '--work-dir', 'work', options=options)
        if path == trusted:
            assert result.status == 0, result.err
        else:
            assert f'set {plain_loading.TRUSTED} to its path' in result.sentence
        assert path.with_suffix('').exists() == (path == trusted)


def test_the_page_lists_the_changes():
    rows = [('Change', 'Applied by', 'Purpose'), ('---',) * 3]
    rows += [(change.what, change.when, change.why) for change in toolbox_changes.CHANGES]
    table = ''.join(f'| {" | ".join(row)} |\n' for row in rows)
    page = PAGE.read_text()
    assert table in page, f'replace the table of {PAGE} by:\n{table}'
    assert toolbox_changes.SWITCH in page and plain_loading.TRUSTED in page
