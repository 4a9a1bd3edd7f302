"""Add configs, tools and the model index to the wheel, where mim looks for them, and build the
kernels for the CPU.

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


# Loaded as plain shared libraries, which need neither torch nor Python's headers. Optional: without
# a compiler that accepts these options, the package still installs and computes in plain PyTorch.
OPERATORS = Path('mmseg_encnet/ops')
KERNELS = [
    Extension(
        f'mmseg_encnet.ops.{operator}.native.kernels',
        sources=[str(OPERATORS / operator / 'native' / 'kernels.cpp')],
        include_dirs=[str(OPERATORS)],
        depends=[
            str(file.relative_to(ROOT))
            for folder in (OPERATORS / 'native', OPERATORS / operator / 'native')
            for file in ROOT.glob(f'{folder}/*.inc')
        ],
        language='c++',
        extra_compile_args=['-std=c++17', '-O3', '-g0', '-fno-math-errno', '-fopenmp'],
        extra_link_args=['-fopenmp'],
        optional=True,
    )
    for operator in ('encode', 'upsampled_cross_entropy')
]

setup(cmdclass={'install_lib': InstallWithMim}, ext_modules=KERNELS)
