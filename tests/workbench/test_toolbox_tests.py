"""The comparison of the toolbox's tests with and without the plugin."""

from __future__ import annotations

import pytest

from mmseg_encnet.workbench.toolbox_tests import Comparison, summary

TESTS = """
import sys
import pytest


def test_alike():
    pass


@pytest.mark.skip
def test_left_out():
    pass


def test_own_part():
    assert 'mmseg_encnet' not in sys.modules


def test_broken():
    assert False
"""


def test_a_test_that_fails_with_the_plugin_is_found(run_tool, tmp_path):
    (tmp_path / 'clone' / 'tests').mkdir(parents=True)
    (tmp_path / 'clone' / 'tests' / 'test_all.py').write_text(TESTS)
    # The tests run with the installed toolbox.
    (tmp_path / 'clone' / 'mmseg').mkdir()
    (tmp_path / 'clone' / 'mmseg' / '__init__.py').write_text('raise ImportError')
    result = run_tool('toolbox_tests', 'clone')
    assert result.status == 1
    assert result.out.splitlines() == [
        'without mmseg_encnet: 1 failed, 2 passed, 1 skipped',
        'with mmseg_encnet: 2 failed, 1 passed, 1 skipped',
        'tests.test_all::test_own_part: passed without mmseg_encnet, failed with it',
    ]


def test_outcomes_are_compared_by_name():
    alike = Comparison({'a': 'passed'}, {'a': 'passed'})
    assert not alike.differences
    assert summary(alike) == 'without mmseg_encnet: 1 passed\nwith mmseg_encnet: 1 passed'
    assert Comparison({'a': 'passed'}, {}).differences == [
        'a: passed without mmseg_encnet, not run with it'
    ]


@pytest.mark.parametrize('arguments', [(), ('--', '--no-such-option')])
def test_a_folder_without_tests(run_tool, tmp_path, arguments):
    if arguments:
        (tmp_path / 'clone' / 'tests').mkdir(parents=True)
    sentence = run_tool('toolbox_tests', 'clone', *arguments).sentence
    assert 'pytest ended with status' in sentence if arguments else 'no folder tests' in sentence
