"""Finding out, before anything is imported, whether a usable toolbox is installed.

The MMSegmentation toolbox exists in two families of distributions that own the same import
packages: OpenMMLab's (``mmcv``, ``mmengine``, ``mmsegmentation``; compiled operators needed) and
the maintained one (the same names with the prefix ``onedl-``). Installed side by side they
overwrite each other's files and fail in ways that name neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from packaging.version import Version

PARTS = ('mmcv', 'mmengine', 'mmsegmentation')
MAINTAINED = 'onedl-'
INSTALL_MAINTAINED = 'pip install onedl-mmcv onedl-mmengine onedl-mmsegmentation'
INSTALL_OPENMMLAB = ('pip install mmengine==0.10.7 mmsegmentation==1.2.2 ftfy regex && '
                     'pip install --no-build-isolation mmcv==2.1.0')

# Versions from the first (included) to the last (excluded) that are known to work together.
SUPPORTED = {
    'onedl-mmcv': ('2.3.0', '3'),
    'onedl-mmengine': ('0.10.8', '1'),
    'onedl-mmsegmentation': ('1.3.0', '2'),
    'mmcv': ('2.0.0', '2.2.0'),
    'mmengine': ('0.10.0', '1'),
    'mmsegmentation': ('1.2.0', '1.3'),
}


def installed_versions() -> dict[str, str]:
    """Versions of the toolbox's distributions in this environment, of both families."""
    names = [prefix + part for part in (*PARTS, 'mmcv-lite') for prefix in ('', MAINTAINED)]
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def check_toolbox(versions: Mapping[str, str] | None = None) -> None:
    """Check that exactly one family of the toolbox is installed, whole and recent enough.

    Args:
        versions: Distribution name to version; what is installed if not given.

    Raises:
        ImportError: One sentence that says what is wrong and the command that mends it.
    """
    versions = installed_versions() if versions is None else versions
    maintained = sorted(name for name in versions if name.startswith(MAINTAINED))
    openmmlab = sorted(set(versions) - set(maintained))

    if maintained and openmmlab:
        raise ImportError(
            f'two families of the toolbox are installed, {_listed(maintained, versions)} and '
            f'{_listed(openmmlab, versions)}, and they overwrite the same files; mend it with: '
            f'pip uninstall -y {" ".join(openmmlab + maintained)} && {INSTALL_MAINTAINED}')
    if not versions:
        raise ImportError(
            f'mmseg_encnet needs the MMSegmentation toolbox, which is not installed; install it '
            f'with: {INSTALL_MAINTAINED}')

    prefix, mend = (MAINTAINED, INSTALL_MAINTAINED) if maintained else ('', INSTALL_OPENMMLAB)
    if not maintained and 'mmcv-lite' in versions and 'mmcv' not in versions:
        raise ImportError(
            f'mmcv-lite {versions["mmcv-lite"]} is installed, but OpenMMLab\'s mmsegmentation '
            f'needs the compiled operators of mmcv; mend it with: pip uninstall -y mmcv-lite && '
            f'{mend}')
    missing = [prefix + part for part in PARTS if prefix + part not in versions]
    if missing:
        raise ImportError(
            f'{", ".join(missing)} is missing beside {_listed(sorted(versions), versions)}; '
            f'install it with: {mend}')
    for part in PARTS:
        name = prefix + part
        lowest, limit = SUPPORTED[name]
        if not Version(lowest) <= Version(versions[name]) < Version(limit):
            raise ImportError(
                f'{name} {versions[name]} is installed, mmseg_encnet works with >={lowest},'
                f'<{limit}; mend it with: {mend} --upgrade')


def import_toolbox() -> None:
    """Import the checked toolbox, so that what breaks inside it is told in one sentence.

    Raises:
        ImportError: If the toolbox itself cannot be imported.
    """
    try:
        import mmseg.models  # noqa: F401
    except Exception as error:
        versions = installed_versions()
        maintained = any(name.startswith(MAINTAINED) for name in versions)
        mend = INSTALL_MAINTAINED if maintained else INSTALL_OPENMMLAB
        raise ImportError(
            f'the installed toolbox ({_listed(sorted(versions), versions)}) cannot be imported: '
            f'{str(error).splitlines()[0]}; reinstall it with: {mend}') from error


def _listed(names: list[str], versions: Mapping[str, str]) -> str:
    return ', '.join(f'{name} {versions[name]}' for name in names)
