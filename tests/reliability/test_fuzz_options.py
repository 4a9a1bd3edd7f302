"""Random ``--cfg-options`` either work or end in one sentence that names them."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import cases
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import DictAction
from tiny_setup import MSRC21
from toolbox_state import clear_toolbox_state

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.running.explain import explain
from mmseg_encnet.running.runner import EncNetRunner

# As typed on the command line; the largest sizes exceed any memory.
VALUES = [
    'None',
    '-1',
    '0',
    '1',
    '3',
    '2.5',
    '-0.1',
    '1e-30',
    '1e30',
    'nan',
    'inf',
    str(2**40),
    str(-(2**63)),
    str(10**30),
    'True',
    'False',
    'text',
    '[]',
    '[1,2]',
    '(0,0)',
    '[None]',
    '[-1,-1,-1]',
    "['a','b']",
    '2x',
    '',
]
SECTIONS = (
    'model',
    'train_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'default_hooks',
    'val_evaluator',
    'env_cfg',
    'randomness',
)
MEMORY = 6 << 30


def keys(node: Any, path: str) -> Iterator[str]:
    """Return options that change one entry each."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield f'{path}.{key}'
        if isinstance(value, (dict, list)):
            yield from keys(value, f'{path}.{key}')


@pytest.fixture
def limited_memory() -> Iterator[None]:
    """Make unreasonable allocations fail in this process only."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.filterwarnings('ignore')
@cases(40)
@given(st.data())
def test_any_option(tiny_options, limited_memory, tmp_path, data):
    clear_toolbox_state()
    cfg = load_config(str(MSRC21), tiny_options)
    known = [
        key
        for section in SECTIONS
        if section in cfg
        for key in (section, *keys(cfg[section], section))
    ]
    count = data.draw(st.integers(1, 2))
    options = {
        data.draw(st.sampled_from(known)): data.draw(st.sampled_from(VALUES)) for _ in range(count)
    }
    parsed = {key: DictAction._parse_iterable(value) for key, value in options.items()}
    try:
        cfg = load_config(str(MSRC21), {**tiny_options, **parsed}, str(tmp_path / 'work'))
        runner = EncNetRunner.from_cfg(cfg)
        loop = runner.train_loop
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        if runner.param_schedulers is not None:
            runner.build_param_scheduler(runner.param_schedulers)
    except Exception as error:
        sentence = explain(error)
        assert sentence is not None, f'{options}: {type(error).__name__}: {error}'
        named = {
            word
            for key, value in options.items()
            for word in (key, key.split('.')[0], key.split('.')[-1], value)
        }
        assert any(word and word in sentence for word in named), f'{options}: {sentence}'
    else:
        assert loop is not None
        assert all(parameter.isfinite().all() for parameter in runner.model.parameters())
    torch.manual_seed(0)
