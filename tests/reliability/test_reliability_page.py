"""The reliability page is generated from the stored results, and all of them held."""

from __future__ import annotations

import record


def test_page_is_written_from_the_results():
    assert record.PAGE.read_text() == record.render(record.stored()), (
        'run: python tools/analysis_tools/reliability.py --page-only'
    )


def test_every_result_has_its_script_and_held():
    for result in record.stored():
        assert (record.CHECKS / f'check_{result.name}.py').is_file(), result.name
        assert result.held, result
