"""Every converter but Pascal Context's and VOC's, on an imitation of what its publisher gives."""

from __future__ import annotations

import importlib
import runpy
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePath

import imitations
import numpy as np
import pytest
from imitations import Imitation
from mmseg.registry import DATASETS
from PIL import Image
from tiny_setup import ROOT

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters import (
    ade20k,
    camvid,
    cityscapes,
    coco21,
    cocostuff164k,
    command,
    msrc21,
)

MODULES = {
    module.__name__.rpartition('.')[2]: module
    for module in (ade20k, camvid, cityscapes, coco21, cocostuff164k, msrc21)
}
each_data_set = pytest.mark.parametrize('name', MODULES)


def imitate(name: str) -> Imitation:
    return getattr(imitations, name)()


def convert(name: str, root: Path) -> Path:
    """Convert what lies in ``given``, without a pool of processes; the folder of the result."""
    command.run(
        MODULES[name].CONVERTER, [str(root / 'out'), '--from', str(root / 'given'), '--jobs', '1']
    )
    return root / 'out'


def refusal(name: str, root: Path) -> str:
    with pytest.raises(UserError) as refused:
        convert(name, root)
    message = str(refused.value)
    # One sentence, whatever points are in file names and numbers.
    assert message.endswith('.')
    assert '. ' not in message
    return message


@each_data_set
def test_labels_and_config(name, tmp_path, capsys):
    imitation = imitate(name)
    imitation.write(tmp_path / 'given')
    out = convert(name, tmp_path)
    for path, expected in imitation.labels.items():
        label = np.asarray(Image.open(out / path))
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, expected, err_msg=path)

    printed = capsys.readouterr().out.splitlines()
    commands = [line.split() for line in printed if line.startswith('python tools/train.py')]
    assert commands
    for _, _, config, _, data_root in commands:
        assert data_root == f'data_root={out}'
        cfg = load_config(config, {'data_root': str(out)})
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            dataset = DATASETS.build(loader.dataset)
            assert len(dataset)
            # The label after reduce_zero_label and the like.
            values = np.unique(dataset[0]['data_samples'].gt_sem_seg.data)
            assert set(values.tolist()) <= {*range(cfg.num_classes), 255}
            # Images and labels of the same place.
            for entry in dataset.load_data_list():
                label = Path(entry['seg_map_path']).relative_to(out).as_posix()
                assert label in imitation.labels


@each_data_set
def test_going_on_after_a_kill(name, tmp_path):
    """A label that is there is left alone, and one that is not is written."""
    imitation = imitate(name)
    imitation.write(tmp_path / 'given')
    out = convert(name, tmp_path)
    first, last = (out / path for path in (min(imitation.labels), max(imitation.labels)))
    made = MODULES[name] is not ade20k
    stamp = first.stat().st_mtime_ns
    if made:
        last.unlink()
        last.with_name(f'{last.name}.123.part').write_bytes(b'half')
    convert(name, tmp_path)
    assert first.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(
        np.asarray(Image.open(last)), imitation.labels[max(imitation.labels)]
    )
    assert not list(out.rglob('*.part'))


def truncate_archive(imitation: Imitation, given: Path) -> list[str]:
    archive = given / imitation.image[0]
    archive.write_bytes(archive.read_bytes()[:-200])
    return [archive.name, 'damaged']


def forget_archive(imitation: Imitation, given: Path) -> list[str]:
    archive = imitation.annotation[0]
    (given / archive).unlink()
    return [archive]


def drop(kind: str) -> Callable[[Imitation, Path], list[str]]:
    def damage(imitation: Imitation, given: Path) -> list[str]:
        archive, name = getattr(imitation, kind)
        del imitation.archives[archive][name]
        imitation.write(given)
        return [PurePath(name).stem.replace('labelIds', 'labelTrainIds'), 'missing']

    return damage


def truncate(kind: str) -> Callable[[Imitation, Path], list[str]]:
    def damage(imitation: Imitation, given: Path) -> list[str]:
        archive, name = getattr(imitation, kind)
        imitation.archives[archive][name] = imitation.archives[archive][name][:-150]
        imitation.write(given)
        return [PurePath(name).name, 'complete' if name.endswith('.json') else 'damaged']

    return damage


def use_wrong_class(imitation: Imitation, given: Path) -> list[str]:
    named = imitation.wrong_class(imitation.archives)
    imitation.write(given)
    return named


DAMAGES = {
    'archive truncated': truncate_archive,
    'archive forgotten': forget_archive,
    'image missing': drop('image'),
    'annotation missing': drop('annotation'),
    'annotation truncated': truncate('annotation'),
    'wrong class': use_wrong_class,
}


@each_data_set
@pytest.mark.parametrize('damage', DAMAGES)
def test_damage(name, damage, tmp_path):
    imitation = imitate(name)
    imitation.write(tmp_path / 'given')
    named = DAMAGES[damage](imitation, tmp_path / 'given')
    message = refusal(name, tmp_path)
    for part in named:
        assert part in message


def test_cityscapes_says_that_an_account_is_needed(tmp_path):
    with pytest.raises(UserError, match='account') as refused:
        command.run(cityscapes.CONVERTER, [str(tmp_path / 'out')])
    for archive in imitate('cityscapes').archives:
        assert archive in str(refused.value)


def test_msrc21_has_the_splits_of_textonboost():
    # Images of each scene in the database.
    scenes = dict.fromkeys(range(1, 21), 30) | {10: 32, 12: 34, 15: 24, 20: 21}
    splits = Counter(
        msrc21.split_of(f'{scene}_{number}_s')
        for scene, count in scenes.items()
        for number in range(1, count + 1)
    )
    assert splits == {'train': 276, 'val': 59, 'test': 256}


@pytest.mark.parametrize(
    'tool', sorted((ROOT / 'tools' / 'dataset_converters').glob('*.py')), ids=lambda tool: tool.stem
)
def test_tool_says_what_it_fetches(tool, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [tool.name, '--help'])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(tool), run_name='__main__')
    assert not ended.value.code
    converter = importlib.import_module(f'{command.__package__}.{tool.stem}').CONVERTER
    printed = capsys.readouterr().out
    assert all(file.name in printed and file.url in printed for file in converter.files)
