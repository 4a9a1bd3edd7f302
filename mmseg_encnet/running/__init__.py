"""Run a config: the runner, its hooks, its processes and its one-sentence errors."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()
