"""EncNet (Context Encoding for Semantic Segmentation, CVPR 2018) as a plugin of MMSegmentation.

Importing the package registers its models, data sets, metrics, hooks and visualizer with the
toolbox; the programs in ``tools/`` do so after they have parsed their arguments, see
:mod:`mmseg_encnet.program`. Without the toolbox, :mod:`mmseg_encnet.ops` and
:mod:`mmseg_encnet.nn` still work; every other part raises an ``ImportError`` with the command that
installs the toolbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmseg_encnet.signals import end_while_importing

# Before the other imports, which take seconds.
end_while_importing()

from mmseg_encnet.configuration.recipe import (
    RELEASES,
    published_recipe,
    repeated_whole_views,
    rotated,
    toolbox_recipe,
    whole_views,
)
from mmseg_encnet.configuration.shipped import config_file
from mmseg_encnet.registration import postponed, register
from mmseg_encnet.toolbox import require_toolbox, toolbox_missing
from mmseg_encnet.version import __version__

if TYPE_CHECKING:
    from mmseg_encnet.hub import (
        EncNet,
        MultiEvalModule,
        get_encnet,
        get_encnet_resnet50_ade,
        get_encnet_resnet50_pcontext,
        get_encnet_resnet101_ade,
        get_encnet_resnet101_pcontext,
    )

__all__ = [
    'RELEASES',
    'EncNet',
    'MultiEvalModule',
    '__version__',
    'config_file',
    'get_encnet',
    'get_encnet_resnet50_ade',
    'get_encnet_resnet50_pcontext',
    'get_encnet_resnet101_ade',
    'get_encnet_resnet101_pcontext',
    'published_recipe',
    'repeated_whole_views',
    'rotated',
    'toolbox_recipe',
    'whole_views',
]
_NEEDS_TOOLBOX = (
    'checkpoints',
    'datasets',
    'evaluation',
    'exporting',
    'hub',
    'models',
    'predicting',
    'resuming',
    'running',
    'toolbox_changes',
    'visualization',
)

if not toolbox_missing() and not postponed():
    register()


def __getattr__(name: str) -> Any:
    # Imported on first use: training from a config does not need it.
    if name in __all__:
        require_toolbox()
        from mmseg_encnet import hub

        return getattr(hub, name)
    if name in _NEEDS_TOOLBOX and toolbox_missing():
        require_toolbox()
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
