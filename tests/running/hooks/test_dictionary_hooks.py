"""Initialising a dictionary from data and monitoring it, in short training runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from mmseg_encnet.errors import UserError
from mmseg_encnet.running.hooks.codebook_init_hook import cluster
from mmseg_encnet.running.hooks.dictionary_health_hook import dictionary_health
from mmseg_encnet.running.runner import EncNetRunner


def logged(cfg: Config) -> list[dict]:
    files = sorted(Path(cfg.work_dir).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def first_dictionary(runner: EncNetRunner) -> tuple[torch.Tensor, torch.Tensor]:
    encoder = runner.model.decode_head.enc_module.encoding[0]
    return encoder.codewords.detach().clone(), encoder.scale.detach().clone()


class Snapshot:
    """The model and the random state at the start of training."""

    def __init__(self, cfg: Config) -> None:
        runner = EncNetRunner.from_cfg(cfg)
        run = runner.call_hook

        def call_hook(name: str, **kwargs) -> None:
            if name == 'before_train_epoch':
                self.state = {k: v.clone() for k, v in runner.model.state_dict().items()}
                self.random = torch.get_rng_state()
            run(name, **kwargs)

        runner.call_hook = call_hook
        runner.train()


HOOK = dict(type='CodebookInitHook', num_images=3, pixels_per_image=20)


def with_hooks(cfg: Config, *hooks: dict) -> Config:
    cfg.custom_hooks = list(hooks)
    cfg.randomness = dict(seed=3)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    return cfg


def test_codebook_from_data_changes_the_dictionary_alone(tiny_config) -> None:
    plain = Snapshot(with_hooks(tiny_config()))
    found = Snapshot(with_hooks(tiny_config(work_dir='b'), HOOK))
    again = Snapshot(with_hooks(tiny_config(work_dir='c'), HOOK))
    changed = {k for k, v in plain.state.items() if not torch.equal(v, found.state[k])}
    assert changed == {
        'decode_head.enc_module.encoding.0.codewords',
        'decode_head.enc_module.encoding.0.scale',
    }
    assert all(torch.equal(value, again.state[key]) for key, value in found.state.items())
    assert torch.equal(plain.random, found.random)
    scale = found.state['decode_head.enc_module.encoding.0.scale']
    assert (scale < 0).all() and scale.isfinite().all()


def test_codebook_of_a_presence_head(tiny_config) -> None:
    cfg = with_hooks(tiny_config(), HOOK, dict(type='DictionaryHealthHook', interval=1))
    shared = dict(num_classes=21, norm_cfg=dict(type='BN'))
    cfg.model.decode_head = dict(
        shared, type='FCNHead', in_channels=64, in_index=3, channels=8, num_convs=1
    )
    cfg.model.auxiliary_head = dict(shared, type='PresenceHead', in_channels=64, num_codes=4)
    runner = EncNetRunner.from_cfg(cfg)
    before = runner.model.presence_head.enc_module.encoder.codewords.detach().clone()
    runner.train()
    after = runner.model.presence_head.enc_module.encoder.codewords
    assert (after - before).abs().max() > 0.1
    assert any('codeword_perplexity' in entry for entry in logged(cfg))


def test_resumed_training_keeps_its_dictionary(tiny_config) -> None:
    options = {'train_cfg.max_iters': 3, 'default_hooks.checkpoint.interval': 2}
    EncNetRunner.from_cfg(with_hooks(tiny_config(options), HOOK)).train()
    cfg = with_hooks(tiny_config(options), HOOK)
    (Path(cfg.work_dir) / 'last_checkpoint').write_text(f'{cfg.work_dir}/iter_2.pth')
    cfg.resume = True
    resumed = Snapshot(cfg)
    saved = CheckpointLoader.load_checkpoint(f'{cfg.work_dir}/iter_2.pth')['state_dict']
    key = 'decode_head.enc_module.encoding.0.codewords'
    assert torch.equal(resumed.state[key], saved[key])


@pytest.mark.parametrize(
    ('options', 'hook', 'words'),
    [
        (
            {
                'model.decode_head.encoder.type': 'GlobalAverage',
                'model.decode_head.num_codes': None,
            },
            HOOK,
            ['CodebookInitHook', 'codewords'],
        ),
        (
            {
                'model.decode_head.encoder.type': 'GlobalAverage',
                'model.decode_head.num_codes': None,
            },
            dict(type='DictionaryHealthHook'),
            ['DictionaryHealthHook', 'codewords'],
        ),
        ({}, dict(HOOK, num_images=1, pixels_per_image=2), ['2 features', '4 codewords']),
    ],
)
def test_says_what_a_hook_lacks(tiny_config, options, hook, words) -> None:
    cfg = tiny_config()
    cfg.merge_from_dict(options)
    with pytest.raises(UserError) as raised:
        EncNetRunner.from_cfg(with_hooks(cfg, hook)).train()
    assert all(word in str(raised.value) for word in words)


def test_clusters_of_blobs() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[5.0, 0, 0], [0, 5, 0], [0, 0, 5]])
    features = centres.repeat_interleave(torch.tensor([60, 30, 10]), dim=0)
    features = features + 0.2 * torch.randn(features.shape, generator=generator)
    found = cluster(features, 3, seed=0)
    order = found.centres.argmax(dim=1).argsort()
    torch.testing.assert_close(found.centres[order], centres, atol=0.2, rtol=0)
    torch.testing.assert_close(found.shares[order], torch.tensor([0.6, 0.3, 0.1]))
    torch.testing.assert_close(
        found.variances[order].mean(dim=1), torch.full((3,), 0.04), rtol=0.4, atol=0
    )


def test_health_of_a_known_assignment() -> None:
    # Codeword 0 has half of the positions, 1 and 2 share the others evenly, 3 has none.
    weights = torch.zeros(1, 4, 8)
    weights[:, 0, :4] = 1
    weights[:, 1:3, 4:] = 0.5
    codewords = torch.tensor([[0.0, 0], [3, 4], [0, 1], [10, 10]])
    health = dictionary_health(weights, codewords)
    assert health.shares.tolist() == [0.5, 0.25, 0.25, 0]
    assert health.perplexity == pytest.approx(math.exp(0.5 * math.log(2) + 0.5 * math.log(4)))
    assert health.assignment_entropy == pytest.approx(math.log(2) / 2)
    assert health.smallest_distance == pytest.approx(1)
    assert dictionary_health(weights[:, :1], codewords[:1]).smallest_distance == math.inf


def test_logs_the_health_and_warns_of_dead_codewords(tiny_config, caplog) -> None:
    cfg = with_hooks(tiny_config(), dict(type='DictionaryHealthHook', interval=2, dead_below=2))
    EncNetRunner.from_cfg(cfg).train()
    lines = logged(cfg)
    health = [line for line in lines if 'codeword_perplexity' in line]
    assert [line['iter'] for line in health] == [2]
    assert 1 <= health[0]['codeword_perplexity'] <= 4
    assert 0 <= health[0]['assignment_entropy'] <= math.log(4) + 1e-6
    assert health[0]['codeword_distance'] > 0
    (shares,) = (line for line in lines if 'codeword_share/00' in line)
    assert shares['step'] == 2
    assert sum(shares[f'codeword_share/{k:02d}'] for k in range(4)) == pytest.approx(1)
    log = next(Path(cfg.work_dir).glob('*/*.log')).read_text()
    assert 'of 4 codewords are dead' in log
