"""Puts configs, tools and the model index into the wheel, where mim looks for them.

An editable install does without: mim then searches the clone itself, and a second copy of a
config under another path would make it give up.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithMim(build_py):

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'mmseg_encnet' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        ignore = shutil.ignore_patterns('__pycache__')
        for folder in ('configs', 'tools'):
            shutil.copytree(ROOT / folder, target / folder, ignore=ignore)
        shutil.copy(ROOT / 'model-index.yml', target)


setup(cmdclass={'build_py': BuildWithMim})
