"""Load a config file, apply command-line overrides and check the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmseg_encnet.configuration.data_facts import count_images, find_initial_checkpoint
from mmseg_encnet.configuration.score_check import check_scores
from mmseg_encnet.configuration.shipped import config_file
from mmseg_encnet.configuration.tree import walk
from mmseg_encnet.configuration.type_check import check_types
from mmseg_encnet.errors import UserError, cut


def load_config(
    path: str,
    options: dict[str, Any] | None = None,
    work_dir: str | None = None,
    launcher: str = 'none',
) -> Config:
    """Load a config file and apply command-line overrides.

    Args:
        path: Config file, or name of a shipped config.
        options: Overrides by dotted key. A step of a pipeline is given by its type, as in
            ``train_dataloader.dataset.pipeline.RandomCrop.crop_size``, or its position.
            ``data_root`` alone moves every data set in the config's ``data_root``.
        work_dir: Folder for logs and checkpoints. Default: the config's, or ``work_dirs/NAME``.
        launcher: Launcher that started the processes: ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Raises:
        UserError: The config does not exist or cannot be read, an option does not fit it, it
            uses a type that is not registered, or the scores of a head cannot distinguish its
            classes.
    """
    if not Path(path).is_file():
        if Path(path).name != path:
            raise UserError(f'config file {path} does not exist; check the path.')
        path = config_file(path)
    try:
        cfg = Config.fromfile(path)
    except (Exception, SystemExit) as error:
        # The message of a failed import ends with all of sys.path.
        reason = cut(' '.join(str(error).partition(', the current sys.path')[0].split()))
        raise UserError(
            f'config file {path} cannot be read ({type(error).__name__}: {reason}); '
            'correct the file.'
        ) from error
    _override(cfg, options or {})
    count_images(cfg, options or {})
    find_initial_checkpoint(cfg)
    check_types(cfg)
    check_scores(cfg)
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    return cfg


def _override(cfg: Config, options: dict[str, Any]) -> None:
    if 'data_root' in options:
        _move_data_root(cfg, options['data_root'])
    # One by one, to name the one that does not fit; deletions go first.
    for key in sorted(options, key=lambda key: not key.endswith('._delete_')):
        _open_empty_entries(cfg, key)
        try:
            cfg.merge_from_dict({_with_step_numbers(cfg, key): options[key]})
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(
                f'--cfg-options {key}={options[key]} does not fit the config: '
                f'{str(error.args[0]).partition(". ")[0]}; check the key.'
            ) from error


def _with_step_numbers(cfg: Config, key: str) -> str:
    """Return a key in which pipeline steps given by their type, such as ``pipeline.Pad.size``, are
    given by their position, as the toolbox expects."""
    node: Any = cfg
    names = []
    for name in key.split('.'):
        if isinstance(node, list):
            types = [step.get('type') if isinstance(step, dict) else None for step in node]
            name = str(types.index(name)) if name in types else name
            node = node[int(name)] if name.isdigit() and int(name) < len(node) else None
        else:
            node = node.get(name) if isinstance(node, (dict, Config)) else None
        names.append(name)
    return '.'.join(names)


def _open_empty_entries(cfg: Config, key: str) -> None:
    """Allow options to set keys below an entry that is None in the config, such as ``init_cfg``."""
    node = cfg
    for name in key.split('.')[:-1]:
        if not isinstance(node, (dict, Config)) or name not in node:
            return
        if node[name] is None:
            node[name] = {}
        node = node[name]


def _move_data_root(cfg: Config, data_root: str) -> None:
    """Change the data root of the data sets that use the ``data_root`` of the config."""
    former = cfg.get('data_root')
    if former is None:
        raise UserError(
            f'got --cfg-options data_root={data_root}, but the config has no data_root; set the '
            'data_root of each of its data sets.'
        )

    cfg.data_root = data_root
    for _, node in walk(cfg._cfg_dict):
        if isinstance(node, dict) and node.get('data_root') == former:
            node['data_root'] = data_root
