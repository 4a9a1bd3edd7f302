"""Read JSON from files that anybody may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmseg_encnet.errors import UserError

# Far above that of any file that the project reads, and far below Python's limit on recursion.
MAX_DEPTH = 64
_NESTED = frozenset((dict, list))
_TOO_DEEP = f'it is nested more than {MAX_DEPTH} levels deep'


class JSONError(ValueError):
    """Text is not usable JSON; the message says why, in one line."""


def parse_json(text: str) -> Any:
    """Return the content of JSON text.

    Raises:
        JSONError: The text is not JSON, is nested too deeply, or has a string with half a
            surrogate pair, which cannot be written to any file.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise JSONError(_TOO_DEEP) from error
    except ValueError as error:
        raise JSONError(' '.join(str(error).split())) from error
    _check_depth(content)
    if '\\u' in text:
        _check_strings(content)
    return content


def read_json(path: Path) -> Any:
    """Return the content of a JSON file in UTF-8.

    Raises:
        FileNotFoundError: The file does not exist.
        UserError: The file is not usable JSON; the message lacks the advice.
    """
    try:
        return parse_json(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(f'{path} is not a complete JSON file ({error})') from error


def _check_depth(content: Any) -> None:
    level = [[content]]
    for _ in range(MAX_DEPTH + 1):
        # Almost all nodes hold only numbers or strings, which the first condition skips in C.
        level = [
            list(child.values()) if isinstance(child, dict) else child
            for node in level
            if not _NESTED.isdisjoint(map(type, node))
            for child in node
            if type(child) in _NESTED
        ]
        if not level:
            return
    raise JSONError(_TOO_DEEP)


def _check_strings(content: Any) -> None:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise JSONError('a string has half a surrogate pair') from error
