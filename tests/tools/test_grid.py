"""Every tool on the grid of models and inputs: the right labels, or one sentence."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from grid import INPUTS, LABELS, MODELS, PAGE, SPLITS, Input, Model, page, photograph
from mmseg.apis import inference_model, init_model
from mmseg.registry import MODELS as REGISTRY
from PIL import Image
from tiny_setup import MSRC21

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.datasets.checked import build_checked_dataset
from mmseg_encnet.errors import UserError
from mmseg_encnet.predicting import load_segmentor
from mmseg_encnet.workbench.demo_page.session import label_photograph, read_photograph

NORMS = ('BN', 'GN', 'IN')
PLAIN = next(model for model in MODELS if model.name == '21 classes')


class Case(NamedTuple):
    """A model of the grid with a data set and weights."""

    model: Model
    data: Path
    config: Path
    checkpoint: Path

    def reference(self, pixels: np.ndarray) -> np.ndarray:
        """Return the toolbox's labels ``(H, W)`` of RGB or RGBA pixels in memory."""
        cfg = load_config(str(self.config))
        cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline
        network = init_model(cfg, str(self.checkpoint), device='cpu')
        labels = inference_model(network, as_read(pixels, self.model.channels))
        return labels.pred_sem_seg.data[0].numpy().astype(np.uint8)


def as_read(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Return pixels in the channels that OpenCV reads for a model."""
    bgr = np.ascontiguousarray(pixels[..., 2::-1])
    if channels == 1:
        # The decoder's own conversion differs from cvtColor by a grey level.
        encoded = cv2.imencode('.png', bgr)[1]
        return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
    return np.dstack([bgr, pixels[..., 3:]]) if channels == 4 else bgr


def make_case(model: Model, tmp_path: Path, tiny_options: dict) -> Case:
    data = tmp_path / 'grid'
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for kind in ('images', 'labels'):
            (data / kind / split).mkdir(parents=True)
        for index in range(2):
            size = (56, 72)
            mode = {1: 'grey', 3: 'RGB', 4: 'RGBA'}[model.channels]
            drawn = next(entry for entry in INPUTS if entry.name == mode)
            (data / 'images' / split / f'{index}.png').write_bytes(drawn.draw(photograph(size)))
            label = rng.integers(0, model.num_classes, size, dtype=np.uint8)
            Image.fromarray(label).save(data / 'labels' / split / f'{index}.png')
    names = [f'c{index}' for index in range(model.num_classes)]
    palette = [[index, 255 - index, index // 2] for index in range(model.num_classes)]
    options = dict(tiny_options, data_root=str(data))
    for split in SPLITS:
        prefix = f'{split}_dataloader.dataset'
        options[f'{prefix}.metainfo'] = dict(classes=names, palette=palette)
        options[f'{prefix}.img_suffix'] = '.png'
        options[f'{prefix}.type'] = 'BaseSegDataset'
    for head in ('decode_head', 'auxiliary_head'):
        options[f'model.{head}.num_classes'] = model.num_classes
    options.update(model.options)
    torch.manual_seed(0)
    config = tmp_path / 'model.py'
    cfg = load_config(str(MSRC21), options)
    cfg.dump(config)
    network = REGISTRY.build(cfg.model)
    checkpoint = tmp_path / 'weights.pth'
    # Random classifiers of the toolbox's initial scale label everything alike.
    torch.nn.init.normal_(network.decode_head.conv_seg.weight, std=1.0)
    torch.save(dict(state_dict=network.state_dict(), meta=dict()), checkpoint)
    return Case(model, data, config, checkpoint)


@pytest.fixture(params=MODELS, ids=lambda model: model.name.replace(' ', '-'))
def case(request, tmp_path, tiny_options) -> Case:
    return make_case(request.param, tmp_path, tiny_options)


def same_labels(found: np.ndarray, expected: np.ndarray, exact: bool) -> bool:
    # Decoders of JPEG, and conversions from CMYK, differ by a few grey levels.
    return found.shape == expected.shape and (found == expected).mean() >= (1 if exact else 0.9)


def exact(entry: Input, model: Model) -> bool:
    """Return whether the network sees the same pixels, to the bit."""
    # Each decoder converts colours to grey in its own way.
    return entry.exact and model.channels != 1


def readable(entry: Input, model: Model) -> bool:
    """Whether a model can read an input: four-channel models need a fourth channel."""
    return not entry.refused and (model.channels < 4 or entry.name == 'RGBA')


def pixels_of(entry: Input, content: bytes, model: Model) -> np.ndarray:
    if model.channels == 4:
        return np.asarray(Image.open(io.BytesIO(content)))
    return entry.seen(content)


def test_infer(case, run_tool, tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    contents = {entry: entry.draw(photograph(entry.size)) for entry in INPUTS}
    for entry, content in contents.items():
        (folder / entry.file).write_bytes(content)
    result = run_tool('infer', case.config, case.checkpoint, folder, '--overlays')
    assert 'Traceback' not in result.out + result.err
    assert result.status == 1, result.err
    errors = [line for line in result.err.splitlines() if line.startswith('error: ')]
    wrong = []
    for entry, content in contents.items():
        named = [line for line in errors if f'/{entry.file} ' in line]
        written = tmp_path / 'predictions' / Path(entry.file).with_suffix('.png').name
        if not readable(entry, case.model):
            if len(named) != 1 or written.exists():
                wrong.append(f'{entry.name}: not refused')
            continue
        if named or not written.exists():
            wrong.append(f'{entry.name}: {named}')
            continue
        labels = np.asarray(Image.open(written))
        if not same_labels(
            labels,
            case.reference(pixels_of(entry, content, case.model)),
            exact(entry, case.model),
        ):
            wrong.append(f'{entry.name}: other labels')
    assert not wrong, '\n'.join(wrong)
    # Sheets take longest to draw.
    one = folder / next(entry.file for entry in INPUTS if readable(entry, case.model))
    result = run_tool(
        'infer', case.config, case.checkpoint, one, '--sheets', '--out-dir', 'with_sheets'
    )
    assert result.status == 0, result.err
    assert (tmp_path / 'with_sheets' / 'sheets' / one.with_suffix('.png').name).is_file()


def test_train_test_report(case, run_tool, tmp_path):
    trained = run_tool('train', case.config, '--work-dir', 'work')
    assert trained.status == 0, trained.err[-2000:]
    checkpoint = tmp_path / 'work' / 'iter_2.pth'
    for scales in ([], ['--tta'], ['--published-tta']):
        out = f'out{len(scales)}{"".join(scales)}'
        result = run_tool(
            'test', case.config, checkpoint, '--out', out, '--show-dir', 'show', *scales
        )
        assert result.status == 0, (scales, result.err[-2000:])
        assert len(list((tmp_path / out).glob('*.png'))) == 2
        if not scales:
            expected = case._replace(checkpoint=checkpoint)
            image = Image.open(case.data / 'images' / 'val' / '0.png')
            pixels = np.asarray(image if case.model.channels == 4 else image.convert('RGB'))
            labels = np.asarray(Image.open(tmp_path / out / '0.png'))
            assert same_labels(labels, expected.reference(pixels), True)
    if case.model.name in NORMS:
        # A report depends on images and classes only.
        return
    report = run_tool('analysis_tools/report', 'work')
    assert report.status == 0, report.err[-2000:]
    assert 'missing' not in report.err


def test_inspection(case, run_tool):
    for tool in ('browse_dataset', 'dataset_stats'):
        result = run_tool(f'analysis_tools/{tool}', case.config)
        assert result.status == 0, (tool, result.err[-2000:])


def test_export(case, run_tool, tmp_path):
    result = run_tool('model_converters/export_onnx', case.config, case.checkpoint, 'model.onnx')
    refused = case.model.refused.get('export_onnx')
    if refused:
        assert refused in result.sentence
        assert not (tmp_path / 'model.onnx').exists()
    else:
        assert result.status == 0, result.out[-500:] + result.err[-2000:]
        assert 'agrees with PyTorch' in result.out
        assert (tmp_path / 'model.onnx').stat().st_size > 10_000


def test_demo_page(case, tmp_path):
    segmentor = load_segmentor(load_config(str(case.config)), str(case.checkpoint), 'cpu')
    wrong = []
    for entry in INPUTS:
        content = entry.draw(photograph(entry.size))
        (tmp_path / entry.file).write_bytes(content)
        try:
            image = read_photograph(tmp_path / entry.file, segmentor)
            session, _ = label_photograph(segmentor, image)
        except UserError as error:
            # The page labels photographs of at least 32 pixels, and shrinks large ones.
            if readable(entry, case.model) and min(entry.size) > 32 and max(entry.size) < 1000:
                wrong.append(f'{entry.name}: {error}')
            continue
        if not readable(entry, case.model):
            wrong.append(f'{entry.name}: not refused')
        elif max(entry.size) < 1000:
            expected = case.reference(pixels_of(entry, content, case.model))
            if not same_labels(session.labels(0), expected, exact(entry, case.model)):
                wrong.append(f'{entry.name}: other labels')
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('entry', INPUTS, ids=lambda entry: entry.name.replace(' ', '-'))
def test_data_set(entry, run_tool, tmp_path, tiny_options):
    """An image of a data set is trained and tested with the labels at their places, or refused."""
    case = make_case(PLAIN, tmp_path, tiny_options)
    content = entry.draw(photograph(entry.size))
    shape = (entry.seen(content).shape if not entry.refused else (*entry.size, 3))[:2]
    for split in ('train', 'val'):
        for kind in ('images', 'labels'):
            for file in (case.data / kind / split).iterdir():
                file.unlink()
        (case.data / 'images' / split / f'a{entry.suffix}').write_bytes(content)
        Image.fromarray(np.zeros(shape, np.uint8)).save(case.data / 'labels' / split / 'a.png')
    options = {f'{split}_dataloader.dataset.img_suffix': entry.suffix for split in SPLITS}
    trained = run_tool('train', case.config, '--work-dir', 'work', options=options)
    tested = run_tool('test', case.config, case.checkpoint, '--out', 'out', options=options)
    drawn = run_tool('analysis_tools/browse_dataset', case.config, options=options)
    refused = entry.refused or entry.ambiguous
    if refused:
        for result in (trained, tested, drawn):
            assert refused in result.sentence and f'a{entry.suffix}' in result.sentence
        return
    assert (trained.status, tested.status, drawn.status) == (0, 0, 0), trained.err + tested.err
    labels = np.asarray(Image.open(tmp_path / 'out' / 'a.png'))
    assert same_labels(labels, case.reference(entry.seen(content)), exact(entry, case.model))


@pytest.mark.parametrize('entry', LABELS, ids=lambda entry: entry.name.replace(' ', '-'))
def test_labels(entry, run_tool, tmp_path, tiny_options):
    """A label of a data set is used as drawn by every tool, or refused by all."""
    two = next(model for model in MODELS if model.name == 'two classes')
    case = make_case(two, tmp_path, tiny_options)
    drawn = np.zeros((56, 72), np.uint8)
    drawn[:, 40:] = 1
    for path in case.data.glob('labels/*/*.png'):
        path.write_bytes(entry.draw(drawn))
    results = [
        run_tool('train', case.config, '--work-dir', 'work'),
        run_tool('test', case.config, case.checkpoint),
        run_tool('analysis_tools/dataset_stats', case.config, '--jobs', 1),
        run_tool('analysis_tools/browse_dataset', case.config),
    ]
    if entry.refused:
        for result in results:
            assert entry.refused in result.sentence and '.png' in result.sentence
        return
    assert [result.status for result in results] == [0] * 4, results[0].err[-2000:]
    statistics = json.loads(next(tmp_path.rglob('statistics.json')).read_text())
    assert statistics['labelled_pixels'] == 2 * drawn.size
    dataset = build_checked_dataset(load_config(str(case.config)).val_dataloader.dataset)
    assert (dataset[0]['data_samples'].gt_sem_seg.data[0].numpy() == drawn).all()


def test_the_page_shows_the_grid():
    assert PAGE.read_text(encoding='utf-8') == page()
