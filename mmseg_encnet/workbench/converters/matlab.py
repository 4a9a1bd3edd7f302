"""Reading MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmseg_encnet.errors import UserError, type_and_first_line
from mmseg_encnet.extras import require
from mmseg_encnet.workbench.converters.archives import START_OVER


def read_mat(path: Path) -> dict[str, Any]:
    """Return the variables of a MATLAB file by name.

    Raises:
        UserError: The file is missing or damaged, or scipy is not installed.
    """
    loadmat = require('scipy.io', 'data').loadmat
    try:
        with path.open('rb') as content:
            return loadmat(content)
    except FileNotFoundError as error:
        raise UserError(f'{path} is missing; {START_OVER}') from error
    # scipy reports damage with many types of exceptions.
    except Exception as error:
        raise UserError(
            f'{path} is damaged ({type_and_first_line(error)}); delete it, {START_OVER}'
        ) from error
