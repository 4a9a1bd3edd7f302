"""The code on the page for users of PyTorch-Encoding runs as printed."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from mmseg_encnet import EncNet

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'from_pytorch_encoding.md'


def test_training_and_evaluation(monkeypatch, tmp_path, capsys):
    build, training, evaluation = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    # Weights of ImageNet and of the published network are the only downloads.
    monkeypatch.setattr(EncNet, 'init_weights', lambda self: None)
    for page, changed in (('epochs, lr = 80', 'epochs, lr = 1'), ('batch_size=16', 'batch_size=2')):
        assert page in training
        training = training.replace(page, changed)
    for page in ('base_size=520, crop_size=480', '[0.5, 0.75, 1.0, 1.25, 1.5, 1.75]'):
        assert page in evaluation
    evaluation = evaluation.replace('base_size=520, crop_size=480', 'base_size=48, crop_size=32')
    evaluation = evaluation.replace('[0.5, 0.75, 1.0, 1.25, 1.5, 1.75]', '[1.0]')

    samples = [(torch.rand(3, 32, 48), torch.randint(-1, 59, (32, 48))) for _ in range(2)]
    names = dict(trainset=samples, valset=samples, testset=samples, x=torch.rand(2, 3, 32, 32))
    exec(build.replace('pretrained=True', 'pretrained=False'), names)
    assert names['se'].shape == (2, 59)
    exec(training, names)
    assert re.search(r'pixAcc \d\.\d+, mIoU \d\.\d+', capsys.readouterr().out)
    exec(evaluation, names)
    assert names['labels'].shape == (1, 32, 48)
    expected = names['model'].state_dict()
    trained = torch.load(tmp_path / 'encnet.pth', weights_only=True)['state_dict']
    assert all(value.equal(expected[key]) for key, value in trained.items())
