"""Puts configs, tools and the model index into the wheel, where mim looks for them.

They join at installation, not in ``build/lib``: mim searches the clone of an editable install by
file name, and copies left behind by an earlier build would make it give up. For the same reason
an editable install has no copies of its own.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.install_lib import install_lib

ROOT = Path(__file__).parent


class InstallWithMim(install_lib):

    def install(self) -> list[str]:
        installed = super().install()
        target = Path(self.install_dir) / 'mmseg_encnet' / '.mim'
        for folder in ('configs', 'tools'):
            shutil.copytree(ROOT / folder, target / folder, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy(ROOT / 'model-index.yml', target)
        return installed


setup(cmdclass={'install_lib': InstallWithMim})
