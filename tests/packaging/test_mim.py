"""mim finds and runs what is shipped, from any folder."""

from __future__ import annotations

import json

from mmengine.config import Config

PACKAGE = 'mmsegmentation-encnet'
CONFIG = 'encnet_r18_context-scenes.py'


def test_train_and_test(installation, tiny, tmp_path):
    printed = installation.mim('train', PACKAGE, CONFIG, '--work-dir', 'run', *tiny, cwd=tmp_path)
    assert f'will use {installation.configs / CONFIG} instead' in printed

    printed = installation.mim(
        'test', PACKAGE, CONFIG, '--checkpoint', 'run/iter_2.pth', '--work-dir', 'test', *tiny,
        cwd=tmp_path)
    assert 'mIoU: ' in printed


def test_gridsearch(installation, tiny, tmp_path):
    installation.mim(
        'gridsearch', PACKAGE, CONFIG, '--work-dir', 'search', *tiny,
        '--search-args', '--optim_wrapper.optimizer.lr 0.01', cwd=tmp_path)
    run = tmp_path / 'search_search_optim_wrapper.optimizer.lr_0.01'
    assert (run / 'iter_2.pth').is_file()
    assert Config.fromfile(run / 'config.py').optim_wrapper.optimizer.lr == 0.01


def test_search(installation, tmp_path):
    installation.mim('search', PACKAGE, '--json', 'models.json', cwd=tmp_path)
    configs = json.loads((tmp_path / 'models.json').read_text())['config'].values()
    assert sorted(configs) == sorted(
        f'configs/{file.name}' for file in installation.configs.glob('*.py'))
