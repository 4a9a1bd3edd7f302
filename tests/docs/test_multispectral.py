"""The commands of the tutorial on multispectral images."""

from __future__ import annotations

import re
import shlex

import numpy as np
from multispectral_files import draw_fields
from PIL import Image
from tiny_setup import ROOT

PAGE = ROOT / 'docs' / 'tutorials' / 'multispectral.md'
TWO_ITERATIONS = {
    'train_cfg.max_iters': 2,
    'train_cfg.val_interval': 2,
    'default_hooks.checkpoint.interval': 2,
    'default_hooks.logger.interval': 1,
    'train_dataloader.batch_size': 2,
    **{
        f'{split}_dataloader.{key}': value
        for split in ('train', 'val')
        for key, value in (('num_workers', 0), ('persistent_workers', False))
    },
}


def test_commands(run_tool, tmp_path):
    draw_fields(tmp_path / 'fields')
    commands = re.findall(r'^python tools/(\S+)\.py (.*)$', PAGE.read_text(), re.MULTILINE)
    assert [name.rpartition('/')[2] for name, _ in commands] == [
        'own',
        'dataset_stats',
        'train',
        'infer',
        'export',
    ]
    written = {}
    # The export takes a minute; tests/tools/grid.py exports a network for four channels.
    for name, arguments in commands[:-1]:
        arguments = shlex.split(arguments.replace('iter_300', 'iter_2'))
        options = TWO_ITERATIONS if name == 'train' else None
        if name.startswith(('dataset_converters', 'analysis')):
            arguments += ['--jobs', '1']
        result = run_tool(name, *arguments, options=options)
        assert result.status == 0, result.err
        written[name] = result.out + result.err
        if name == 'dataset_converters/own':
            shrink = tmp_path / 'data' / 'fields' / 'dataset.py'
            text = shrink.read_text()
            assert 'base_size = 416' in text
            shrink.write_text(text.replace('416', '64').replace('(384, 384)', '(64, 64)'))
    data = tmp_path / 'data' / 'fields'
    measured = (data / 'statistics' / 'normalisation.py').read_text()
    assert measured == (data / 'normalisation.py').read_text()
    assert 'stem.conv was widened from three channels' in written['train']
    labels = sorted((tmp_path / 'labels').glob('*.png'))
    assert len(labels) == 6
    assert np.array(Image.open(labels[0])).shape == (48, 56)
