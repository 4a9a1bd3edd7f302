"""Check, before anything is imported, that a usable toolbox is installed.

The MMSegmentation toolbox exists in two families of distributions that own the same import
packages: OpenMMLab's (``mmcv``, ``mmengine``, ``mmsegmentation``; compiled operators needed) and
the maintained one (the same names with the prefix ``onedl-``). Installed side by side they
overwrite each other's files, and the errors that follow name neither.
"""

from __future__ import annotations

import functools
import gc
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata

from mmseg_encnet.errors import type_and_first_line

PARTS = ('mmcv', 'mmengine', 'mmsegmentation')
MAINTAINED = 'onedl-'

# Versions that work together without compiled operators (older onedl-mmsegmentation imports them),
# and those that OpenMMLab's mmsegmentation accepts. The extras in setup.cfg repeat them.
SUPPORTED = {
    'onedl-mmcv': '>=2.3.1,<3',
    'onedl-mmengine': '>=0.10.8,<1',
    'onedl-mmsegmentation': '>=1.4.0,<2',
    'mmcv': '>=2.0.0,<2.2.0',
    'mmengine': '>=0.10.0,<1',
    'mmsegmentation': '>=1.2.0,<1.3',
}


def installed_versions() -> dict[str, str]:
    """Return the versions of the toolbox's distributions, of both families, by name."""
    names = [*(MAINTAINED + part for part in PARTS), *PARTS, 'mmcv-lite']
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def toolbox_missing() -> bool:
    """Return whether no family's MMSegmentation is installed."""
    return not any(name.endswith(PARTS[-1]) for name in installed_versions())


@functools.cache
def require_toolbox() -> None:
    """Check and import the toolbox, once per process.

    Raises:
        ImportError: The toolbox is missing, incomplete or broken; the message is one sentence with
            the command that fixes it.
    """
    check_toolbox()
    import_toolbox()


def check_toolbox(versions: Mapping[str, str] | None = None) -> None:
    """Check that exactly one family of the toolbox is installed, complete and recent enough.

    Args:
        versions: Distribution name to version. Default: the installed ones.

    Raises:
        ImportError: It is not; the message is one sentence with the command that fixes it.
    """
    versions = installed_versions() if versions is None else versions
    if not versions:
        raise ImportError(
            f'mmseg_encnet needs the MMSegmentation toolbox, which is not installed; install it '
            f'with: {_install(MAINTAINED)}'
        )

    # Imported here because mmseg_encnet.ops and mmseg_encnet.nn need torch alone.
    from packaging.specifiers import SpecifierSet

    maintained = [name for name in versions if name.startswith(MAINTAINED)]
    openmmlab = [name for name in versions if name not in maintained]
    if maintained and openmmlab:
        raise ImportError(
            f"two families of the toolbox are installed and overwrite each other's files, "
            f'{_listed(maintained, versions)} and {_listed(openmmlab, versions)}; fix it with: '
            f'{_reinstall(versions, MAINTAINED)}'
        )

    prefix = MAINTAINED if maintained else ''
    if 'mmcv-lite' in versions and 'mmcv' not in versions:
        raise ImportError(
            f"mmcv-lite {versions['mmcv-lite']} is installed, but OpenMMLab's mmsegmentation "
            f'needs the compiled operators of mmcv; fix it with: pip uninstall -y mmcv-lite && '
            f'{_install(prefix)}'
        )
    missing = [prefix + part for part in PARTS if prefix + part not in versions]
    if missing:
        raise ImportError(
            f'{_listed(versions, versions)} is installed without {", ".join(missing)}; install the '
            f'missing packages with: {_install(prefix)}'
        )
    for part in PARTS:
        name = prefix + part
        if not SpecifierSet(SUPPORTED[name], prereleases=True).contains(versions[name]):
            raise ImportError(
                f'{name} {versions[name]} is installed, but mmseg_encnet needs {name} '
                f'{SUPPORTED[name]}; fix it with: {_install(prefix)}'
            )


def import_toolbox() -> None:
    """Import the toolbox, after :func:`check_toolbox`.

    Raises:
        ImportError: The toolbox itself fails to import; the message is one sentence with the
            command that fixes it.
    """
    try:
        with _garbage_kept():
            import mmseg.models  # noqa: F401
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == 'torch':
            raise ImportError(
                'the toolbox needs PyTorch, which is not installed; install it '
                'with: pip install torch'
            ) from error
        library = re.match(r'(lib\S+): cannot open shared object file', str(error))
        if library:
            raise ImportError(
                f'the toolbox needs the system library {library[1]}, which is not installed; on '
                'Debian and Ubuntu, install those of OpenCV with: apt-get install libgl1 '
                'libglib2.0-0'
            ) from error
        versions = installed_versions()
        prefix = MAINTAINED if MAINTAINED + PARTS[0] in versions else ''
        raise ImportError(
            f'the installed toolbox ({_listed(versions, versions)}) cannot be imported '
            f'({type_and_first_line(error)}); reinstall it with: '
            f'{_reinstall(versions, prefix)}'
        ) from error


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Pause the garbage collector, which takes a sixth of the time of these imports."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _install(prefix: str) -> str:
    """Return the command that installs the supported versions of a family."""
    mmcv, *pure = (f'"{prefix}{part}{SUPPORTED[prefix + part]}"' for part in PARTS)
    if prefix == MAINTAINED:
        return f'pip install {mmcv} {" ".join(pure)}'
    # mmcv's setup.py needs the pkg_resources of old setuptools and skips the operators if it cannot
    # import torch, as in an isolated build, whose result pip then caches. mmsegmentation imports
    # ftfy and regex without declaring them.
    return (
        f'pip install "setuptools<80" wheel {" ".join(pure)} ftfy regex && '
        f'pip install --no-cache-dir --no-build-isolation {mmcv}'
    )


def _reinstall(versions: Iterable[str], prefix: str) -> str:
    # Uninstall first: pip skips what its records call installed, and --force-reinstall would
    # download torch again.
    return f'pip uninstall -y {" ".join(versions)} && {_install(prefix)}'


def _listed(names: Iterable[str], versions: Mapping[str, str]) -> str:
    return ', '.join(f'{name} {versions[name]}' for name in names)
