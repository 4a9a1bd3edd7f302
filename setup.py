"""Add configs, tools and the model index to the wheel, where mim looks for them, and build the
kernels for the CPU.

Configs, tools and index are added at installation, not in ``build/lib``: in an editable install mim
searches the clone by file name, and fails if an earlier build has left copies. For the same reason
an editable install contains no copies.
"""

import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
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


class BuildKernels(build_ext):
    """Build plain shared libraries, which need neither torch nor Python's headers."""

    def get_ext_filename(self, fullname: str) -> str:
        suffix = '.dll' if sys.platform == 'win32' else '.so'
        return str(Path(*fullname.split('.')).with_suffix(suffix))

    def build_extension(self, ext: Extension) -> None:
        if sys.platform != 'win32':
            super().build_extension(ext)
            return
        # The kernels use vector extensions that MSVC lacks. libiomp5 is the runtime of torch.
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        include = [f'-I{folder}' for folder in ext.include_dirs]
        options = [*COMPILE_OPTIONS, '-fopenmp=libiomp5', *include]
        self.spawn(['clang++', '-shared', *options, *ext.sources, '-o', str(target)])


class PlatformWheel(bdist_wheel):
    """One wheel for all versions of Python: the kernels are loaded with ctypes."""

    def get_tag(self) -> tuple[str, str, str]:
        return 'py3', 'none', super().get_tag()[2]


COMPILE_OPTIONS = ['-std=c++17', '-O3', '-g0', '-fno-math-errno']
# Apple's compiler accepts the option only in this form. The OpenMP runtime is not linked: the
# kernels use the one that torch has loaded (mmseg_encnet/ops/native/__init__.py).
OPENMP = ['-Xpreprocessor', '-fopenmp'] if sys.platform == 'darwin' else ['-fopenmp']
# Optional: without a compiler that accepts these options, the package still installs and computes
# in plain PyTorch.
OPERATORS = Path('mmseg_encnet/ops')
KERNELS = [
    Extension(
        f'{".".join(folder.parts)}.native.kernels',
        sources=[str(folder / 'native' / 'kernels.cpp')],
        include_dirs=[str(OPERATORS), str(folder)],
        depends=[
            str(file.relative_to(ROOT))
            for included in (OPERATORS / 'native', folder / 'native')
            for file in ROOT.glob(f'{included}/*.inc')
        ],
        language='c++',
        extra_compile_args=[*COMPILE_OPTIONS, *OPENMP],
        optional=True,
    )
    for folder in (
        OPERATORS / 'encode',
        OPERATORS / 'upsampled_cross_entropy',
        OPERATORS / 'upsampled_labels',
        Path('mmseg_encnet/datasets/transforms'),
    )
]

setup(
    cmdclass={
        'bdist_wheel': PlatformWheel,
        'build_ext': BuildKernels,
        'install_lib': InstallWithMim,
    },
    ext_modules=KERNELS,
)
