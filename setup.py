"""Add configs, tools and the model index to the wheel, where mim looks for them, and build the
encoding kernels for the CPU.

Configs, tools and index are added at installation, not in ``build/lib``: in an editable install mim
searches the clone by file name, and fails if an earlier build has left copies. For the same reason
an editable install contains no copies.
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


# Loaded as a plain shared library, which needs neither torch nor Python's headers. Optional:
# without a compiler that accepts these options, the package still installs and encodes by matrix
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
