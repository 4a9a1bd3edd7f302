"""Config entries that follow from files: iterations from a list, a folder's last checkpoint."""

from __future__ import annotations

import pytest

from mmseg_encnet.configuration.loading import load_config

NAME = 'encnet_r101_coco21'
ESTIMATE = 30 * (92_516 // 16)


@pytest.mark.parametrize(
    'lines, images, iterations', [(4000, 4000, 30 * 250), (4015, 4015, 30 * 250), (3, 3, 30)]
)
def test_iterations_follow_from_the_list(lines, images, iterations, tmp_path):
    (tmp_path / 'voc21').mkdir()
    names = [f'{number:012d}' for number in range(lines)]
    (tmp_path / 'voc21' / 'train2017.txt').write_text('\n'.join(names) + '\n\n')
    cfg = load_config(NAME, {'data_root': str(tmp_path)})
    assert (cfg.num_images, cfg.max_iters) == (images, iterations)
    assert cfg.train_cfg.max_iters == iterations
    assert cfg.train_cfg.val_interval == max(iterations // 10, 1)
    # What the command line says comes first.
    options = {'data_root': str(tmp_path), 'train_cfg.max_iters': 7}
    assert load_config(NAME, options).train_cfg.max_iters == 7


def test_the_estimate_remains_without_a_list_and_in_other_configs(tmp_path):
    cfg = load_config(NAME, {'data_root': str(tmp_path)})
    assert cfg.train_cfg.max_iters == cfg.max_iters == ESTIMATE
    lists = tmp_path / 'ImageSets' / 'SegmentationContext'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('one\n' * 50)
    cfg = load_config('encnet_r50_pcontext', {'data_root': str(tmp_path)})
    assert cfg.train_cfg.max_iters == 80 * (4998 // 16)


def test_a_folder_in_load_from_is_its_last_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, folder = 'encnet_r101_voc12aug_from-coco', tmp_path / 'work_dirs' / NAME
    assert load_config(name).load_from == f'work_dirs/{NAME}'
    folder.mkdir(parents=True)
    assert load_config(name).load_from == f'work_dirs/{NAME}'
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_12.pth'))
    assert load_config(name).load_from == str(folder / 'iter_12.pth')
