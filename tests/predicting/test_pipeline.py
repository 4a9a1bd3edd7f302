"""Images are read, predicted and written at the same time, and their results stay in order."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from tiny_setup import MSRC21

from mmseg_encnet import predicting
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.predicting import pipeline
from mmseg_encnet.predicting.inputs import InputImage
from mmseg_encnet.predicting.segmentor import OutOfMemory

TALL, WIDE = (3, 2), (2, 3)
DEADLINE = 30


class Recorder:
    """A segmentor without a network, which records what is loaded and predicted.

    Attributes:
        loaded: First pixel of each loaded image.
        batches: For each call, the first pixels of the images that were predicted together.
        broken: First pixels of images that cannot be loaded.
        capacity: Number of images that fit into memory.
    """

    classes, palette = ['0', '1'], [[0, 0, 0], [1, 1, 1]]
    has_own_threads = False

    def __init__(self, device: str = 'cpu', broken: set[int] = frozenset(), capacity: int = 99):
        self.device = torch.device(device)
        self.broken, self.capacity = broken, capacity
        self.loaded: list[int] = []
        self.batches: list[list[int]] = []

    def load(self, image: np.ndarray) -> predicting.LoadedImage:
        self.loaded.append(int(image.flat[0]))
        if self.loaded[-1] in self.broken:
            raise UserError('is broken.')
        return predicting.LoadedImage(dict(img=image), [])

    def prepare(self, image: predicting.LoadedImage) -> predicting.PreparedImage:
        pixels = torch.from_numpy(image.results['img'])[None]
        return predicting.PreparedImage(image, pixels, SegDataSample())

    def predict_batch(self, images, context_maps=False) -> list[SegDataSample]:
        self.batches.append([int(image.inputs.flatten()[0]) for image in images])
        if len(images) > self.capacity:
            raise OutOfMemory(f'{len(images)} images need more memory.')
        for image in images:
            image.data_sample.pred_sem_seg = PixelData(data=image.inputs.long() % 2)
        return [image.data_sample for image in images]


def frames(*sizes: tuple[int, int]) -> list[InputImage]:
    """Return images of the given sizes, whose pixels are their indices."""
    return [
        InputImage(np.full(size, index, np.uint8), Path(f'{index}.png'), str(index), {})
        for index, size in enumerate(sizes)
    ]


def titles(predictions) -> list[str]:
    return [one.image.title + ('!' if one.error else '') for one in predictions]


@pytest.mark.parametrize(
    'sizes, batch_size, batches',
    [
        ([WIDE] * 5, 1, [[0], [1], [2], [3], [4]]),
        ([WIDE] * 5, 2, [[0, 1], [2, 3], [4]]),
        ([WIDE, TALL, WIDE, TALL, WIDE], 3, [[0, 2, 4], [1, 3]]),
        ([TALL, WIDE, WIDE], 8, [[0], [1, 2]]),
    ],
)
def test_batches_of_equal_sizes(sizes, batch_size, batches):
    recorder = Recorder()
    found = list(predicting.predict_images(recorder, frames(*sizes), batch_size=batch_size))
    assert titles(found) == [str(index) for index in range(len(sizes))]
    assert recorder.batches == batches
    for index, one in enumerate(found):
        assert one.sample.pred_sem_seg.data.unique().tolist() == [index % 2]


def test_default_batch_sizes():
    for device, expected in (('cpu', 1), ('meta', pipeline.GPU_BATCH_SIZE)):
        recorder = Recorder(device)
        list(predicting.predict_images(recorder, frames(*[WIDE] * 9)))
        assert max(map(len, recorder.batches)) == expected


def test_several_images_at_the_same_time():
    """After the first image, each thread has its share of PyTorch's threads, until the end."""
    shares, both = [], threading.Barrier(2, timeout=DEADLINE)

    class Computing(Recorder):
        def predict_batch(self, images, context_maps=False):
            shares.append(torch.get_num_threads())
            if len(self.batches) > 0:
                both.wait()
            return super().predict_batch(images, context_maps)

    torch.set_num_threads(2)
    found = predicting.predict_images(Computing(broken={0}), frames(*[WIDE] * 6))
    assert titles(found) == ['0!', '1', '2', '3', '4', '5']
    assert shares == [2, 1, 1, 1, 1]
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


@pytest.mark.parametrize('batch_size', [1, 2, 8])
def test_errors_in_their_place(batch_size):
    recorder = Recorder(broken={0, 2, 5})
    found = predicting.predict_images(recorder, frames(*[WIDE] * 6), batch_size=batch_size)
    assert titles(found) == ['0!', '1', '2!', '3', '4', '5!']


def test_a_batch_that_does_not_fit_is_divided():
    recorder = Recorder(capacity=1)
    assert titles(predicting.predict_images(recorder, frames(WIDE, WIDE), batch_size=2)) == [
        '0',
        '1',
    ]
    assert recorder.batches == [[0, 1], [0], [1]]
    recorder = Recorder(capacity=0)
    found = predicting.predict_images(recorder, frames(WIDE, WIDE), batch_size=2)
    assert ['1 images' in str(one.error) for one in found] == [True, True]


def test_at_the_same_time(tmp_path):
    """The second image is read while the first is predicted, and predicted while it is written."""
    read, predicted = threading.Event(), threading.Event()

    class Waiting(Recorder):
        def load(self, image):
            if image.flat[0] == 1:
                read.set()
            return super().load(image)

        def predict_batch(self, images, context_maps=False):
            if not self.batches:
                assert read.wait(DEADLINE)
            else:
                predicted.set()
            return super().predict_batch(images, context_maps)

    class WaitingWriter(predicting.PredictionWriter):
        def write(self, image, loaded, sample):
            assert predicted.wait(DEADLINE)
            super().write(image, loaded, sample)

    recorder = Waiting()
    with WaitingWriter(tmp_path, recorder) as writer:
        assert list(predicting.write_predictions(recorder, [Series(2)], writer)) == [None] * 2
    assert (tmp_path / '1.png').is_file()


class Series(predicting.ImageFile):
    """An entry of several images."""

    def __init__(self, count: int) -> None:
        super().__init__(Path('series'), Path('series.png'))
        self.__dict__['count'] = count

    def images(self) -> Iterator[InputImage]:
        yield from frames(*[WIDE] * self.count)


@pytest.mark.parametrize('num_bytes, most', [(2**28, 8), (1, 1), (12, 2)])
def test_reading_ahead_is_limited(num_bytes, most, monkeypatch):
    monkeypatch.setattr(pipeline, 'AHEAD_BYTES', num_bytes)
    recorder = Recorder()
    for done, _ in enumerate(predicting.predict_images(recorder, frames(*[WIDE] * 40)), 1):
        assert len(recorder.loaded) - done < most


def test_a_full_disk_ends_the_prediction(tmp_path, monkeypatch):
    monkeypatch.setattr(
        'mmseg_encnet.predicting.outputs.write_whole',
        lambda path, data: (_ for _ in ()).throw(OSError(errno.ENOSPC, 'No space left on device')),
    )
    recorder = Recorder()
    with (
        pytest.raises(OSError, match='No space left'),
        predicting.PredictionWriter(tmp_path, recorder) as writer,
    ):
        list(predicting.write_predictions(recorder, [Series(9)], writer))
    assert list(tmp_path.iterdir()) == []
    assert len(recorder.batches) < 4


@pytest.mark.parametrize('batch_size', [None, 2])
def test_same_files_as_one_by_one(batch_size, tiny_options, tmp_path, monkeypatch):
    """Photographs, a video and a broken file; two images at the same time, or a batch of two."""
    monkeypatch.setattr(pipeline, '_num_workers', lambda *_: 2)
    cfg = load_config(str(MSRC21), tiny_options)
    torch.manual_seed(0)
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'tiny.pth')
    segmentor = predicting.load_segmentor(cfg, str(tmp_path / 'tiny.pth'), 'cpu')
    torch.nn.init.normal_(segmentor.model.decode_head.conv_seg.weight)
    folder = tmp_path / 'in'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(5):
        size = (60, 80, 3) if index % 2 else (80, 60, 3)
        cv2.imwrite(str(folder / f'{index}.png'), rng.integers(0, 256, size, np.uint8))
    (folder / '2b.png').touch()
    video = cv2.VideoWriter(
        str(tmp_path / 'clip.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48)
    )
    for _ in range(3):
        video.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
    video.release()
    out = tmp_path / 'out'
    entries = predicting.find_inputs([folder, tmp_path / 'clip.avi'], out)
    with (
        predicting.PredictionWriter(out, segmentor) as writer,
        predicting.Throughput() as throughput,
    ):
        results = list(predicting.write_predictions(segmentor, entries, writer, batch_size))
    assert [error is None for error in results] == [True] * 3 + [False] + [True] * 5
    assert throughput.busy > 0 and throughput.rate(9) == 9 / throughput.seconds
    alone = tmp_path / 'alone'
    with predicting.PredictionWriter(alone, segmentor) as writer:
        for entry in entries:
            for image in entry.images():
                if image.target.name != '2b.png':
                    loaded = segmentor.load(image.source)
                    writer.write(image, loaded, segmentor.predict(loaded))
    records = (out / 'predictions.jsonl').read_text()
    assert records == (alone / 'predictions.jsonl').read_text()
    for record in map(json.loads, records.splitlines()):
        assert (out / record['labels']).read_bytes() == (alone / record['labels']).read_bytes()
    assert (out / 'overlays' / 'clip.mp4').is_file()
