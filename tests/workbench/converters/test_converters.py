"""All converters except those of Pascal Context and VOC, on imitations of the publishers' files."""

from __future__ import annotations

import importlib
import re
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
from scipy.io import savemat
from tiny_setup import ROOT

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters import (
    ade20k,
    camvid,
    cityscapes,
    clothing,
    coco21,
    cocostuff164k,
    command,
    msrc21,
)
from mmseg_encnet.workbench.converters.photographs import read_splits

MODULES = {
    module.__name__.rpartition('.')[2]: module
    for module in (ade20k, camvid, cityscapes, clothing, coco21, cocostuff164k, msrc21)
}
each_data_set = pytest.mark.parametrize('name', MODULES)


def imitate(name: str) -> Imitation:
    return getattr(imitations, name)()


def convert(name: str, root: Path) -> Path:
    """Convert the files in ``given`` in this process, and return the output folder."""
    command.run(
        MODULES[name].CONVERTER, [str(root / 'out'), '--from', str(root / 'given'), '--jobs', '1']
    )
    return root / 'out'


def refusal(name: str, root: Path) -> str:
    with pytest.raises(UserError) as refused:
        convert(name, root)
    message = str(refused.value)
    # A single sentence, apart from dots in file names and numbers.
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
            # Labels as trained on, for example after reduce_zero_label.
            values = np.unique(dataset[0]['data_samples'].gt_sem_seg.data)
            assert set(values.tolist()) <= {*range(cfg.num_classes), 255}
            # Every image is paired with its own label.
            for entry in dataset.load_data_list():
                label = Path(entry['seg_map_path']).relative_to(out).as_posix()
                assert label in imitation.labels


@each_data_set
def test_going_on_after_a_kill(name, tmp_path):
    """Existing labels are kept and missing ones are written."""
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


@pytest.mark.parametrize(
    ('name', 'pattern', 'train', 'val'),
    [('msrc21', r'(?:1?\d|20)_[1-3]?\d_s', 318, 113), ('clothing', r'0\d{3}|100[0-4]', 583, 133)],
)
def test_splits_are_listed(name, pattern, train, val):
    splits = read_splits(name)
    assert Counter(splits.values()) == {'train': train, 'val': val}
    assert all(re.fullmatch(pattern, image) for image in splits)


@pytest.mark.parametrize(
    'damage, sentence',
    [
        (None, None),
        ('missing', '11_16_s_GT.mat is missing'),
        ('truncated', '11_16_s_GT.mat is damaged'),
        ('type without a reader', '11_16_s_GT.mat is damaged (reading it ended the process)'),
        ('unknown class', '11_16_s_GT.mat is not a label file of newsegmentations_mats'),
        ('other variables', '11_16_s_GT.mat is not a label file of newsegmentations_mats'),
    ],
)
def test_msrc21_takes_cleaned_labels_where_they_are_given(tmp_path, damage, sentence):
    imitation = imitate('msrc21')
    imitation.write(tmp_path / 'given')
    cleaned = tmp_path / 'given' / msrc21.CLEANED
    cleaned.mkdir()
    # Four segments of grass, horse, boat and cow; pixels of a fifth one have no label.
    segments = np.random.default_rng(0).integers(1, 6, (32, 48), np.uint8)
    expected = np.array([1, 255, 20, 3, 255], np.uint8)[segments - 1]
    for path in imitation.labels:
        content = dict(newseg=segments, newlabels=np.array([[2, 5, 23, 4]]))
        savemat(cleaned / f'{PurePath(path).stem}_GT.mat', content)
    file = cleaned / '11_16_s_GT.mat'
    if damage == 'missing':
        file.unlink()
    elif damage == 'truncated':
        file.write_bytes(file.read_bytes()[:-40])
    elif damage == 'type without a reader':
        savemat(file, dict(names=np.array(['a', 'bc'], object)))
        content = bytearray(file.read_bytes())
        # Type of the first element after the header of 128 bytes and its tags; scipy crashes.
        content[144] = 14
        file.write_bytes(content)
    elif damage == 'unknown class':
        savemat(file, dict(newseg=segments, newlabels=np.array([[2, 24, 23, 4]])))
    elif damage == 'other variables':
        savemat(file, dict(label=segments))
    if sentence is None:
        out = convert('msrc21', tmp_path)
        for path in imitation.labels:
            np.testing.assert_array_equal(np.asarray(Image.open(out / path)), expected)
    else:
        assert sentence in refusal('msrc21', tmp_path)


@pytest.mark.parametrize(
    'name, module', [('coco21', 'pycocotools.mask'), ('msrc21', 'scipy.io'), ('ade20k', 'requests')]
)
def test_missing_extra_names_its_command(name, module, tmp_path, monkeypatch):
    imitate(name).write(tmp_path / 'given')
    package = module.partition('.')[0]
    for known in [known for known in sys.modules if known.partition('.')[0] == package]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setattr(sys, 'meta_path', [NotInstalled(package), *sys.meta_path])
    arguments = [str(tmp_path / 'out'), '--jobs', '1']
    if name == 'msrc21':
        (tmp_path / 'given' / msrc21.CLEANED).mkdir()
    if name != 'ade20k':
        arguments += ['--from', str(tmp_path / 'given')]
    with pytest.raises(UserError) as refused:
        command.run(MODULES[name].CONVERTER, arguments)
    assert str(refused.value) == (
        f"{package} is not installed; install it with: pip install 'mmsegmentation-encnet[data]'"
    )


class NotInstalled:
    """An import hook under which a package is not installed."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition('.')[0] == self._package:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)


# own.py converts files of the user.
TOOLS = sorted(
    path for path in (ROOT / 'tools' / 'dataset_converters').glob('*.py') if path.stem != 'own'
)


@pytest.mark.parametrize('tool', TOOLS, ids=lambda tool: tool.stem)
def test_tool_says_what_it_fetches(tool, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [tool.name, '--help'])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(tool), run_name='__main__')
    assert not ended.value.code
    converter = importlib.import_module(f'{command.__package__}.{tool.stem}').CONVERTER
    printed = capsys.readouterr().out
    for file in converter.files:
        assert all(text in printed for text in (file.name, *file.urls))


def test_the_page_lists_names_addresses_and_checksums():
    converters = [importlib.import_module(f'{command.__package__}.{tool.stem}') for tool in TOOLS]
    files = {file for module in converters for file in module.CONVERTER.files if not file.account}
    page = (ROOT / 'docs' / 'datasets.md').read_text()
    rows = {
        line.split('`')[1]: line for line in page.splitlines() if '](http' in line and '| `' in line
    }
    assert rows.keys() == {file.name for file in files}
    for file in files:
        row = rows[file.name]
        assert tuple(re.findall(r'\]\((http[^)]+)\)', row)) == file.urls
        assert ('sha1:' + row.split('`')[-2] == file.digest) if file.digest else ('none' in row)
