"""Quantities, tables and JSON as text."""

from __future__ import annotations

import math

import pytest

from mmseg_encnet.workbench.formatting import (
    count_text,
    markdown_table,
    memory_text,
    parse_strict_json,
    strict_json,
)


@pytest.mark.parametrize(
    'text, expected',
    [
        (memory_text(999), '999 B'),
        (memory_text(1.5 * 2**20), '1.5 MiB'),
        (memory_text(250 * 2**20), '250 MiB'),
        (memory_text(3000 * 2**30), '3000 GiB'),
        (count_text(12), '12'),
        (count_text(1_234_567), '1.23 M'),
    ],
)
def test_quantities(text, expected):
    assert text == expected


def test_markdown_table():
    table = markdown_table(('a', 'b'), [('1', ''), ('2', '3')])
    assert table == '| a | b |\n| --- | --- |\n| 1 |  |\n| 2 | 3 |'


def test_json_has_null_for_non_finite_numbers():
    content = {'a': [1, math.nan, (math.inf, 'x')], 'b': True}
    text = strict_json(content)
    assert text == '{"a": [1, null, [null, "x"]], "b": true}'
    read = parse_strict_json(text)
    assert math.isnan(read['a'][1]) and read['a'][2][1] == 'x' and read['b'] is True
