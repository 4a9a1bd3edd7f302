"""A converter's command line, from a server to a verified data set."""

from __future__ import annotations

import dataclasses
import errno
import signal
from pathlib import Path

import killable
import numpy as np
import pytest
from publisher_files import jpeg, png, write_zip
from range_server import serve

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.command import Converter, Workspace, run
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.labels import LabelTask, read_label

SIZE = (20, 30)


def plus_one(source: Path) -> np.ndarray:
    return read_label(source) + 1


def converter(url: str, **options) -> Converter:
    """Return the converter of a zip file in the layout of Pascal Context, with classes from 0."""
    file = PublishedFile(f'{url}set.zip', **options)

    def convert(workspace: Workspace) -> None:
        workspace.unpack(file)
        workspace.write_labels(
            plus_one,
            [
                LabelTask(
                    workspace.out / f'JPEGImages/{name}.jpg',
                    workspace.out / f'SegmentationClassContext/{name}.png',
                    workspace.out / f'raw/{name}.png',
                )
                for name in ('a', 'b')
            ],
        )
        workspace.write_list('ImageSets/SegmentationContext/train.txt', ['a'])
        workspace.write_list('ImageSets/SegmentationContext/val.txt', ['b'])

    return Converter('The set', {'encnet_r50_pcontext60': (1, 1)}, (file,), convert)


@pytest.fixture
def archive(tmp_path) -> Path:
    path = tmp_path / 'given' / 'set.zip'
    path.parent.mkdir()
    members = {
        f'raw/{name}.png': png(np.full(SIZE, value, np.uint8))
        for name, value in (('a', 4), ('b', 58))
    }
    write_zip(path, members | {f'JPEGImages/{name}.jpg': jpeg(*SIZE) for name in 'ab'})
    return path


@pytest.fixture
def server(archive, monkeypatch):
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    with serve() as running:
        running.content = archive.read_bytes()
        yield running


def test_fetched_converted_and_verified(server, tmp_path, capsys):
    out = tmp_path / 'out'
    arguments = [str(out), '--jobs', '1']
    run(converter(server.url), arguments)
    assert (read_label(out / 'SegmentationClassContext/b.png') == 59).all()
    printed = capsys.readouterr()
    assert f'--cfg-options data_root={out}' in printed.out
    assert 'configs/encnet_r50_pcontext60.py' in printed.out
    assert str(out / 'downloads') in printed.out
    assert all(bar in printed.err for bar in ('set.zip', 'labels', 'verifying'))
    # The second run verifies everything, but fetches, unpacks and writes nothing.
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*.png')}
    (out / 'downloads' / 'set.zip').unlink()
    run(converter(server.url), arguments)
    assert server.asked == [None]
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob('*.png')}
    # A removed label is written again.
    (out / 'SegmentationClassContext/b.png').unlink()
    run(converter(server.url), arguments)
    assert (read_label(out / 'SegmentationClassContext/b.png') == 59).all()


def test_killed_again_and_again(server, tmp_path):
    """The converter is killed while fetching, unpacking, writing labels and verifying."""
    # A zip file may end in a comment.
    server.content = server.content[:-2] + (60_000).to_bytes(2, 'little') + bytes(60_000)
    server.break_after = 70_000
    run(converter(server.url), [str(tmp_path / 'undisturbed'), '--jobs', '2'])
    delay, status = 0.005, None
    while status != 0:
        process = killable.start(run, converter(server.url), [str(tmp_path / 'out'), '--jobs', '2'])
        process.join(delay)
        process.kill()
        process.join()
        status = process.exitcode
        assert status in (0, -signal.SIGKILL)
        delay *= 1.3
    assert tree(tmp_path / 'out') == tree(tmp_path / 'undisturbed')


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def test_given_files_are_not_fetched_and_not_written_to(server, archive, tmp_path):
    run(
        converter(server.url, digest=f'md5:{"0" * 32}'),
        [str(tmp_path / 'out'), '--from', str(archive.parent), '--jobs', '1'],
    )
    assert server.asked == []
    assert [path.name for path in archive.parent.iterdir()] == ['set.zip']
    assert not (tmp_path / 'out' / 'downloads').exists()


@pytest.mark.parametrize(
    'arguments, sentence',
    [
        (['--jobs', '0'], '--jobs must be at least 1, got 0'),
        (
            ['--from', 'nowhere'],
            '--from nowhere is not a folder; give the folder that contains set.zip',
        ),
        (['--from', '.'], 'does not contain set.zip; download from http'),
        ([], 'set.zip needs an account'),
    ],
)
def test_said_before_the_work_begins(tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        run(converter('http://127.0.0.1:9/', account=True), arguments)
    assert sentence in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'number, sentence', [(errno.ENOSPC, 'No space left'), (errno.EACCES, 'Permission denied')]
)
def test_a_folder_that_cannot_be_used(archive, tmp_path, number, sentence):
    def full(workspace: Workspace) -> None:
        raise OSError(number, sentence, str(workspace.out / 'a.png'))

    with pytest.raises(UserError, match=rf'out/a\.png cannot be used \({sentence}'):
        run(
            dataclasses.replace(converter(''), convert=full),
            [str(tmp_path / 'out'), '--from', str(archive.parent)],
        )


def test_help_names_the_files(capsys):
    with pytest.raises(SystemExit):
        run(converter('https://example.org/'), ['--help'])
    out = capsys.readouterr().out
    assert 'set.zip  https://example.org/set.zip' in out
    assert 'data/VOCdevkit/VOC2010' in out
