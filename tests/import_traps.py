"""Modules in a folder that leave a mark when they are imported."""

from __future__ import annotations

from pathlib import Path

# Of the toolbox, of packages, and of the standard library.
NAMES = (
    *('mmseg', 'mmengine', 'mmcv', 'mmseg_encnet', 'torch', 'numpy', 'cv2', 'PIL', 'matplotlib'),
    *('tqdm', 'gradio', 'uvicorn', 'tifffile', 'sitecustomize', 'usercustomize'),
    *('argparse', 'json', 'multiprocessing', 'pickle', 'random', 'socket', 'threading'),
)


def traps(folder: Path) -> Path:
    """Create the modules in a new folder, and return it."""
    folder.mkdir()
    for name in NAMES:
        mark = folder / f'{name}.mark'
        (folder / f'{name}.py').write_text(f'open({str(mark)!r}, "w").close()\n')
    return folder


def sprung(folder: Path) -> list[str]:
    """Return the names of the modules that have been imported."""
    return sorted(path.stem for path in folder.glob('*.mark'))
