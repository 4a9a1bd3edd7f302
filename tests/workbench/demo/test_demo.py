"""The demo, shortened to two iterations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.workbench.demo import demo

SHORT = {
    'train_cfg.max_iters': 2,
    'train_cfg.val_interval': 2,
    'default_hooks.checkpoint.interval': 2,
    'train_dataloader.batch_size': 2,
    'train_dataloader.dataset.num_scenes': 4,
    'test_dataloader.dataset.num_scenes': 2,
    **{
        f'{split}_dataloader.{key}': value
        for split in ('train', 'test')
        for key, value in (('num_workers', 0), ('persistent_workers', False))
    },
}


def test_demo_leaves_a_table_and_a_grid(tmp_path, monkeypatch):
    monkeypatch.setattr(
        demo, 'load_config', lambda name, work_dir: load_config(name, SHORT, work_dir)
    )
    lines: list[str] = []
    demo.run_demo(0, tmp_path, 2, lines.append)

    table = (tmp_path / 'metrics.md').read_text()
    header, rule, *rows = table.strip().splitlines()
    assert header == '| % | FCN | EncNet |'
    assert rule.count('---') == 3
    metrics = {row.split('|')[1].strip(): row.split('|')[2:4] for row in rows}
    assert {'mIoU', 'aAcc'} <= set(metrics)
    assert not {'time', 'data_time'} & set(metrics)
    assert all(0 <= float(cell) <= 100 for cells in metrics.values() for cell in cells)

    grid = np.array(Image.open(tmp_path / 'grid.png').convert('RGB'))
    assert grid.shape[1] > 1000 and grid.std() > 10
    report = '\n'.join(lines)
    assert table.strip() in report
    assert str(tmp_path / 'grid.png') in report
    assert {path.name for path in tmp_path.iterdir()} == {'metrics.md', 'grid.png', 'fcn', 'encnet'}


def test_table_keeps_the_order_of_the_first_model():
    table = demo.metrics_table(
        {'A': dict(mIoU=1.04, twins=50.0, time=3.0), 'B': dict(mIoU=99.96, twins=7.25, time=1.0)}
    )
    assert table.splitlines() == [
        '| % | A | B |',
        '| --- | --- | --- |',
        '| mIoU | 1.0 | 100.0 |',
        '| twins | 50.0 | 7.2 |',
    ]


def test_contenders_are_shipped_configs():
    for name in demo.CONFIGS.values():
        assert Path(load_config(name).filename).stem == name
