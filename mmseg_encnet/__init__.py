"""EncNet, Context Encoding for Semantic Segmentation, as a plugin of MMSegmentation.

Importing the package registers its models, data sets and metrics with the toolbox.
"""

from .toolbox import check_toolbox, import_toolbox

check_toolbox()
import_toolbox()

from . import checkpoints, datasets, evaluation, models, visualization  # noqa: E402, F401
from .config_files import config_file  # noqa: E402
from .engine import hooks  # noqa: E402, F401
from .engine.safe_loading import guard_toolbox  # noqa: E402
from .hub import get_encnet  # noqa: E402
from .version import __version__  # noqa: E402

guard_toolbox()

__all__ = ['__version__', 'config_file', 'get_encnet']
