"""One score for two classes: every tool writes the thresholded labels."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.apis import MMSegInferencer
from mmseg.registry import MODELS
from PIL import Image
from tiny_setup import ROOT, SHRUNK, draw_photographs

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.predicting import load_segmentor
from mmseg_encnet.workbench.demo_page.session import label_photograph
from mmseg_encnet.workbench.reporting.evaluation_record import evaluation_record

BINARY = ROOT / 'configs' / 'encnet_r18_binary.py'
STOCK = {'model.type': 'EncoderDecoder'}


@pytest.fixture
def options(tmp_path) -> dict:
    """Return options that shrink the binary recipe, for a data set of its layout."""
    draw_photographs(tmp_path / 'data', 'train', 4, num_classes=2)
    draw_photographs(tmp_path / 'data', 'val', 2, num_classes=2)
    shrunk = dict(SHRUNK, data_root=str(tmp_path / 'data'))
    del shrunk['train_dataloader.dataset.pipeline.RandomResize.scale']
    return shrunk | {
        'train_dataloader.dataset.pipeline.RandomShortSideResize.base_size': 64,
        'model.test_cfg.crop_size': (48, 48),
        'model.test_cfg.stride': (32, 32),
        'model.decode_head.threshold': 0.6,
        'published_tta_model.base_size': 64,
        'published_tta_model.scales': [1.0],
    }


@pytest.fixture
def weights(tmp_path, options) -> Path:
    """Return weights of the network with about as many pixels of each class."""
    torch.manual_seed(0)
    cfg = load_config(str(BINARY), options)
    model = MODELS.build(cfg.model)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=30)
    path = tmp_path / 'weights.pth'

    def save() -> None:
        torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)

    save()
    segmentor = load_segmentor(cfg, str(path), 'cpu')
    logits = torch.cat(
        [
            segmentor.predict(image, seg_logits=True).seg_logits.data.logit().flatten()
            for image in images(options)
        ]
    )
    with torch.no_grad():
        model.decode_head.conv_seg.bias += math.log(0.6 / 0.4) - logits.median()
    save()
    return path


def images(options: dict) -> list[Path]:
    return sorted(Path(options['data_root'], 'images', 'val').iterdir())


def written(folder: Path) -> list[np.ndarray]:
    return [np.array(Image.open(path)) for path in sorted(folder.glob('*.png'))]


@pytest.fixture
def expected(options, weights) -> list[np.ndarray]:
    """Return the labels of the images of the validation split: a probability of more than 0.6."""
    segmentor = load_segmentor(load_config(str(BINARY), options), str(weights), 'cpu')
    labels = []
    for image in images(options):
        probability = segmentor.predict(image, seg_logits=True).seg_logits.data
        assert probability.shape[0] == 1 and 0 <= probability.min() <= probability.max() <= 1
        labels.append((probability[0] > 0.6).numpy().astype(np.uint8))
    assert all(0.02 < label.mean() < 0.98 for label in labels)
    return labels


@pytest.mark.parametrize('segmentor', [{}, STOCK], ids=['ours', 'stock'])
def test_test(segmentor, run_tool, options, weights, expected, tmp_path):
    result = run_tool(
        'test', BINARY, weights, '--out', 'out', '--show-dir', 'show', options=options | segmentor
    )
    assert result.status == 0, result.err
    assert all((a == b).all() for a, b in zip(written(tmp_path / 'out'), expected, strict=True))
    assert len(list((tmp_path / 'show').rglob('*.png'))) == 2


@pytest.mark.parametrize('segmentor', [{}, STOCK], ids=['ours', 'stock'])
def test_published_tta(segmentor, run_tool, options, weights, expected, tmp_path):
    result = run_tool(
        'test',
        *(BINARY, weights, '--published-tta', '--out', 'out', '--show-dir', 'show'),
        options=options | segmentor,
    )
    assert result.status == 0, result.err
    assert len(list((tmp_path / 'show').rglob('*.png'))) == 2
    for label, plain in zip(written(tmp_path / 'out'), expected, strict=True):
        assert (label == plain).mean() > 0.6 and 0 < label.mean() < 1


@pytest.mark.parametrize('segmentor', [{}, STOCK], ids=['ours', 'stock'])
def test_infer(segmentor, run_tool, options, weights, expected, tmp_path):
    result = run_tool(
        'infer',
        *(BINARY, weights, *images(options), '--out-dir', 'out', '--overlays', '--sheets'),
        options=options | segmentor,
    )
    assert result.status == 0, result.err
    labels = written(tmp_path / 'out')
    assert all((a == b).all() for a, b in zip(labels, expected, strict=True))
    assert Image.open(tmp_path / 'out' / '0.png').mode == 'P'
    records = [json.loads(line) for line in (tmp_path / 'out/predictions.jsonl').open()]
    for record, label in zip(records, expected, strict=True):
        assert record['areas'] == pytest.approx(
            dict(background=1 - label.mean(), object=label.mean()), abs=1e-5
        )
    for folder in ('overlays', 'sheets'):
        assert len(list((tmp_path / 'out' / folder).iterdir())) == 2


def test_a_class_below_the_presence_threshold_gets_no_pixel(run_tool, options, weights, tmp_path):
    result = run_tool(
        'infer',
        *(BINARY, weights, *images(options), '--out-dir', 'out', '--presence-threshold', 1),
        options=options,
    )
    assert result.status == 0, result.err
    for line in (tmp_path / 'out/predictions.jsonl').open():
        record = json.loads(line)
        presence = record['presence']
        assert record['areas'] == {max(presence, key=presence.get): 1.0}


def test_demo_page(options, weights, expected):
    segmentor = load_segmentor(load_config(str(BINARY), options), str(weights), 'cpu')
    session, context = label_photograph(segmentor, segmentor.load(images(options)[0]))
    assert (session.labels(0) == expected[0]).all()
    assert (context.prediction == expected[0]).all()
    assert session.can_remove
    assert (session.labels(1) == session.presence.argmax().item()).all()


@pytest.mark.parametrize('segmentor', [{}, STOCK], ids=['ours', 'stock'])
def test_report(segmentor, options, weights, expected, tmp_path):
    cfg = load_config(str(BINARY), options | segmentor, str(tmp_path / 'work'))
    record = evaluation_record(cfg, weights, tmp_path / 'kept', 'run')
    truth = [
        np.array(Image.open(str(p).replace('images', 'labels')[:-3] + 'png'))
        for p in images(options)
    ]
    counts = [
        [
            sum(int(((t == row) & (p == column)).sum()) for t, p in zip(truth, expected))
            for column in (0, 1)
        ]
        for row in (0, 1)
    ]
    assert record.confusion.tolist() == counts
    assert len(record.sheets) == 2
    assert ('context/mIoU' in record.metrics) == (not segmentor)
    if not segmentor:
        assert record.metrics['context/mIoU'] == pytest.approx(record.metrics['mIoU'])


def test_toolbox_inferencer(options, weights, expected, tmp_path):
    cfg = load_config(str(BINARY), options)
    inferencer = MMSegInferencer(
        model=cfg,
        weights=str(weights),
        device='cpu',
        classes=['background', 'object'],
        palette=[[0, 0, 0], [200, 0, 0]],
        scope='mmseg',
    )
    result = inferencer(str(images(options)[0]), out_dir=str(tmp_path / 'out'))
    assert (result['predictions'] == expected[0]).all()


def test_training_logs_the_accuracy_of_the_thresholded_labels(run_tool, options, tmp_path):
    result = run_tool('train', BINARY, '--work-dir', 'work', options=options)
    assert result.status == 0, result.err
    assert 'mIoU' in result.out
    assert all((tmp_path / 'work').glob('iter_2.pth'))
