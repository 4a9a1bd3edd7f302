"""A config of one's own, outside the project, inherits a shipped one by its name."""

from __future__ import annotations

import json
import textwrap

OWN_CONFIG = """
    _base_ = __import__('mmseg_encnet').config_file('encnet_r50_pcontext')

    model = dict(decode_head=dict(num_classes=3), auxiliary_head=dict(num_classes=3))
    train_cfg = dict(max_iters=_base_.train_cfg.max_iters * 2)
"""
# Stock mmengine first, in a process that knows nothing of this package.
PROGRAM = """
    import json
    from mmengine.config import Config
    stock = Config.fromfile('own.py')
    import mmseg_encnet
    from mmseg_encnet.engine.launch import load_config
    shipped = Config.fromfile(mmseg_encnet.config_file('encnet_r50_pcontext.py'))
    ours = load_config('own.py')
    print('RESULT', json.dumps(dict(
        file=mmseg_encnet.config_file('encnet_r50_pcontext'),
        types=[cfg.model.decode_head.type for cfg in (stock, ours)],
        classes=[cfg.model.decode_head.num_classes for cfg in (shipped, stock, ours)],
        iterations=[cfg.train_cfg.max_iters for cfg in (shipped, stock, ours)])))
"""


def test_a_config_of_ones_own_inherits_by_name(installation, tmp_path):
    (tmp_path / 'own.py').write_text(textwrap.dedent(OWN_CONFIG))
    printed = installation.execute(textwrap.dedent(PROGRAM), cwd=tmp_path)
    result = json.loads(printed.split('RESULT', 1)[1])
    assert result['file'] == str(installation.configs / 'encnet_r50_pcontext.py')
    assert result['types'] == ['EncodingHead', 'EncodingHead']
    assert result['classes'] == [59, 3, 3]
    shipped, stock, ours = result['iterations']
    assert stock == ours == 2 * shipped
