"""Writing labels in parallel, and restarting after a kill."""

from __future__ import annotations

import os
import signal
import time
import traceback
from pathlib import Path

import killable
import numpy as np
import pytest
from PIL import Image
from publisher_files import jpeg, png

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.labels import LabelTask, image_size, read_label, write_labels

SIZE = (20, 30)


def full_of(source: int) -> np.ndarray:
    return np.full(SIZE, source, np.uint8)


def refusing(source: int) -> np.ndarray:
    if source == 3:
        raise UserError('source 3 is odd.')
    return full_of(source)


def broken(source: int) -> np.ndarray:
    raise KeyError('a defect of the converter')


def killed(source: int) -> np.ndarray:
    os.kill(os.getpid(), signal.SIGKILL)


def slow(source: tuple[int, Path]) -> np.ndarray:
    value, pids = source
    (pids / str(os.getpid())).touch()
    time.sleep(0.03)
    return full_of(value)


@pytest.fixture
def tasks(tmp_path) -> list[LabelTask]:
    (tmp_path / 'images').mkdir()
    made = []
    for value in range(8):
        image = tmp_path / 'images' / f'{value}.jpg'
        image.write_bytes(jpeg(*SIZE))
        made.append(LabelTask(image, tmp_path / 'labels' / 'train' / f'{value}.png', value))
    return made


def check(tasks: list[LabelTask]) -> None:
    for index, task in enumerate(tasks):
        assert np.array_equal(read_label(task.label), full_of(index))
    assert len(list(tasks[0].label.parent.iterdir())) == len(tasks)


@pytest.mark.parametrize('jobs', [1, 3])
def test_written(tasks, jobs):
    write_labels(full_of, tasks, jobs)
    check(tasks)


def test_finished_labels_are_left_alone_and_leftovers_go(tasks):
    write_labels(full_of, tasks[:3], 1)
    before = [task.label.stat() for task in tasks[:3]]
    (tasks[5].label.parent / '5.png.123.part').write_bytes(b'half')
    write_labels(full_of, tasks, 2)
    check(tasks)
    for task, stat in zip(tasks, before):
        assert (task.label.stat().st_ino, task.label.stat().st_mtime_ns) == (
            stat.st_ino,
            stat.st_mtime_ns,
        )


@pytest.mark.parametrize('jobs', [1, 2])
def test_a_source_that_is_refused(tasks, jobs):
    with pytest.raises(UserError, match='source 3 is odd'):
        write_labels(refusing, tasks, jobs)
    assert not tasks[3].label.exists()
    write_labels(full_of, tasks, jobs)
    check(tasks)


@pytest.mark.parametrize('jobs', [1, 2])
def test_a_defect_names_the_label_and_keeps_its_traceback(tasks, jobs):
    with pytest.raises(RuntimeError, match=r'drawing .*\.png failed') as error:
        write_labels(broken, tasks, jobs)
    assert 'a defect of the converter' in ''.join(traceback.format_exception(error.value))


def test_a_worker_that_is_killed(tasks):
    with pytest.raises(UserError, match='fewer --jobs'):
        write_labels(killed, tasks, 2)


def test_missing_image(tasks):
    tasks[4].image.unlink()
    with pytest.raises(UserError, match=r'4\.jpg is missing'):
        write_labels(full_of, tasks, 1)
    assert not tasks[0].label.exists()


def test_image_of_another_size(tasks):
    tasks[4].image.write_bytes(jpeg(30, 20))
    with pytest.raises(UserError, match=r'label of .*4\.jpg has 30 x 20 pixels, expected 20 x 30'):
        write_labels(full_of, tasks, 1)
    assert not tasks[4].label.exists()


def test_killed_with_its_workers_and_started_again(tasks, tmp_path):
    pids = tmp_path / 'pids'
    pids.mkdir()
    many = [
        LabelTask(tasks[0].image, tmp_path / 'labels' / f'{value}.png', (value, pids))
        for value in range(100)
    ]
    process = killable.start(write_labels, slow, many, 2)
    while len(list(tmp_path.glob('labels/*.png'))) < 5:
        time.sleep(0.005)
    process.kill()
    process.join()
    workers = [int(path.name) for path in pids.iterdir()]
    assert len(workers) == 2 and process.pid not in workers
    for worker in workers:
        while Path(f'/proc/{worker}').exists() and not ended(worker):
            time.sleep(0.005)
    before = {path: path.stat() for path in tmp_path.glob('labels/*.png')}
    assert 5 <= len(before) < 100
    for path in before:
        assert read_label(path).shape == SIZE
    write_labels(slow, many, 2)
    for value, task in enumerate(many):
        assert np.array_equal(read_label(task.label), full_of(value))
    for path, stat in before.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)
    assert len(list((tmp_path / 'labels').iterdir())) == 100


def ended(pid: int) -> bool:
    """Return whether a process is a zombie."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'
    except FileNotFoundError:
        return True


def test_palette_images_give_their_indices(tmp_path):
    values = np.arange(200, dtype=np.uint8).reshape(10, 20)
    (tmp_path / 'label.png').write_bytes(png(values, palette=True))
    assert Image.open(tmp_path / 'label.png').mode == 'P'
    assert np.array_equal(read_label(tmp_path / 'label.png'), values)
    assert image_size(tmp_path / 'label.png') == (10, 20)


@pytest.mark.parametrize(
    'content, what',
    [
        (None, 'missing'),
        (b'', 'damaged'),
        (b'<html>', 'damaged'),
        (png(np.zeros(SIZE, np.uint8))[:50], 'damaged'),
        (png(np.random.default_rng(0).integers(0, 9, SIZE, np.uint8))[:-30], 'damaged'),
        (png(np.zeros((*SIZE, 3), np.uint8)), '3 channels'),
    ],
    ids=lambda value: value if isinstance(value, str) else 'content',
)
def test_unreadable_labels(tmp_path, content, what):
    path = tmp_path / 'label.png'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=what) as error:
        read_label(path)
    assert str(path) in str(error.value)
