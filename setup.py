"""Puts configs, tools and the model index into the wheel, where mim looks for them, and builds the
CPU's encoding kernels.

Configs, tools and index join at installation, not in ``build/lib``: mim searches the clone of an
editable install by file name, and copies left behind by an earlier build would make it give up. For
the same reason an editable install has no copies of its own.
"""

import shutil
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.install_lib import install_lib

ROOT = Path(__file__).parent


class InstallWithMim(install_lib):
    def install(self) -> list[str]:
        installed = super().install()
        target = Path(self.install_dir) / 'mmseg_encnet' / '.mim'
        for folder in ('configs', 'tools'):
            shutil.copytree(
                ROOT / folder,
                target / folder,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns('__pycache__'),
            )
        shutil.copy(ROOT / 'model-index.yml', target)
        return installed


# Loaded as a plain shared library: it needs neither torch nor Python's headers. Optional: without a
# compiler that knows these options the package installs all the same, and encodes in matrix
# products.
KERNELS = Extension(
    'mmseg_encnet.ops.encode.native.kernels',
    sources=['mmseg_encnet/ops/encode/native/kernels.cpp'],
    depends=[
        str(file.relative_to(ROOT)) for file in ROOT.glob('mmseg_encnet/ops/encode/native/*.inc')
    ],
    language='c++',
    extra_compile_args=['-std=c++17', '-O3', '-g0', '-fno-math-errno', '-fopenmp'],
    extra_link_args=['-fopenmp'],
    optional=True,
)

setup(cmdclass={'install_lib': InstallWithMim}, ext_modules=[KERNELS])
