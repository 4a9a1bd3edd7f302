"""Convert images and labels of a user into the layout that configs expect."""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError, cut
from mmseg_encnet.workbench.converters.own import splits
from mmseg_encnet.workbench.converters.own.classes import (
    IGNORED,
    MAX_CLASSES,
    ClassEntry,
    find_table,
    ignore,
    read_table,
    with_colours,
    write_table,
)
from mmseg_encnet.workbench.converters.own.configs import DATASET, write_configs
from mmseg_encnet.workbench.converters.own.files import list_files, place_of
from mmseg_encnet.workbench.converters.own.formats import read_source
from mmseg_encnet.workbench.converters.own.found import Example, FoundData, Source
from mmseg_encnet.workbench.converters.own.images import (
    ImageHeader,
    common_bands,
    common_suffix,
    follows_stored_pixels,
    place_image,
    read_header,
)
from mmseg_encnet.workbench.converters.own.options import Reading, Splitting
from mmseg_encnet.workbench.converters.own.problems import (
    FileProblem,
    UnusableData,
    map_files,
)
from mmseg_encnet.workbench.converters.own.summary import Summary
from mmseg_encnet.workbench.inspection.channel_statistics import measure_channels
from mmseg_encnet.workbench.inspection.label_statistics import LabelStatistics

TABLE = 'colours.csv'
STATISTICS = 'statistics.json'


@dataclass(frozen=True)
class Converted:
    """A converted data set.

    Attributes:
        root: Its folder.
        classes: Class names by index.
        palette: RGB colours by index.
        suffix: Suffix of the images.
        configs: Names of the configs for training.
        summary: What was found and written.
    """

    root: Path
    classes: list[str]
    palette: list[list[int]]
    suffix: str
    configs: list[str]
    summary: Summary


@dataclass(frozen=True)
class _Drawn:
    """A written label: its counts per class, the last for ignored pixels, and its image."""

    name: str
    counts: np.ndarray
    header: ImageHeader
    stored: bool


def convert_own(
    src: Path,
    out: Path,
    reading: Reading | None = None,
    splitting: Splitting | None = None,
    copy: bool = False,
) -> Converted:
    """Convert a folder of images and labels.

    The result is ``images/{train,val,test}`` and ``labels/{train,val,test}`` with labels of class
    indices, ``dataset.py``, configs for training, ``colours.csv`` and ``statistics.json``. It is
    written to a temporary folder and renamed, so that it is complete or missing.

    TIFF files with other than 8-bit colours are not changed; their configs load all channels, and
    ``normalisation.py`` has the means and standard deviations.

    Args:
        src: Folder of the user.
        out: Folder to write; it must be empty or missing.
        reading: How to read images and labels; by default as the files suggest.
        splitting: How to divide them; by default as the files suggest.
        copy: Copy images instead of linking them.

    Raises:
        UserError: Something is missing or cannot be used.
        UnusableData: Some files cannot be used; ``problems`` lists them all.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f'output folder {out} is not empty; choose another one.')
    reading, splitting = reading or Reading(), splitting or Splitting()
    source = _open(src, reading)
    found = read_source(source)
    notes = list(found.notes)
    notes += _check_unlabelled(found, source)
    entries, positions = _classes(found, source)
    names = _names(found.examples, src)
    split_of = _stated_splits(names, found, source, splitting, notes)
    if split_of is not None:
        names = {name: example for name, example in names.items() if name in split_of}
    suffix = common_suffix([example.image for example in names.values()])

    with _complete_or_missing(out) as folder:
        drawn = _draw_labels(found, names, positions, len(entries), source, folder)
        bands = common_bands({names[name].image: drawn[name].header for name in names})
        split_of = _drawn_splits(names, drawn, split_of, splitting, src)
        rewritten = _place_files(names, drawn, split_of, suffix, folder, copy, reading.jobs)
        if rewritten:
            notes.append(
                f'{rewritten:,} of {len(names):,} images were rewritten as {suffix}, because of '
                'their format or EXIF orientation'
            )
        summary = _summarise(found.format, source, entries, drawn, split_of, notes)
        summary.write(folder / STATISTICS)
        write_table(folder / TABLE, entries)
        configs = write_configs(folder, entries, summary.counts, suffix, bands)
        if bands is not None:
            measure_channels(load_config(str(folder / DATASET)), 'train', reading.jobs).write(
                folder
            )
    return Converted(
        out,
        [entry.name for entry in entries],
        [list(entry.colour or ()) for entry in entries],
        suffix,
        configs,
        summary,
    )


def _open(src: Path, reading: Reading) -> Source:
    files = list_files(src)
    for option, path in (('images', reading.images), ('labels', reading.labels)):
        if path is not None and not (src / path).exists():
            raise UserError(f'--{option} {src / path} does not exist; give a path in {src}.')
    path = reading.table or find_table(src, {file.parent for file in files})
    table = None if path is None else read_table(path)
    return Source(src, files, table, path, reading)


def _check_unlabelled(found: FoundData, source: Source) -> list[str]:
    """Return a note about images without labels.

    Raises:
        UserError: There are some, and nothing allows to leave them out.
    """
    images = found.unlabelled
    if not images:
        return []
    total = len(images) + len(found.examples)
    shown = f'{len(images):,} of {total:,} images have no label, such as {images[0]}'
    tested = all(place_of(path, source.root).split == 'test' for path in images)
    if not (found.unlabelled_is_normal or tested or source.reading.skip_unlabelled):
        raise UserError(f'{shown}; label them, or leave them out with --skip-unlabelled.')
    return [f'{shown}; they are left out']


def _classes(found: FoundData, source: Source) -> tuple[list[ClassEntry], np.ndarray]:
    """Return the classes that are not ignored, and the index of each position, ``(256,)`` uint8.

    Positions with the same name are one class.
    """
    entries = ignore(found.entries, source.reading.ignore)
    kept: dict[str, ClassEntry] = {}
    for entry in entries:
        if not entry.ignored:
            kept.setdefault(entry.name, entry)
    if not 2 <= len(kept) <= MAX_CLASSES:
        names = cut(', '.join(map(repr, list(kept)[:5])))
        raise UserError(
            f'the labels in {source.root} contain {len(kept)} classes ({names}), expected 2 to '
            f'{MAX_CLASSES}; check --ignore and --background, and label the rest of the images as '
            'a class, too.'
        )
    index = {name: position for position, name in enumerate(kept)}
    positions = np.full(256, IGNORED, np.uint8)
    for position, entry in enumerate(entries):
        if not entry.ignored:
            positions[position] = index[entry.name]
    return with_colours(list(kept.values())), positions


def _names(examples: Sequence[Example], root: Path) -> dict[str, Example]:
    """Return the images by name in the data set: folders and stem, with the split if needed.

    Raises:
        UnusableData: Two images have the same name.
    """
    folders = [example.place.folder for example in examples]
    common = posixpath.commonpath(folders) if folders else ''
    plain = [
        _join(folder.removeprefix(common).lstrip('/'), example.stem)
        for folder, example in zip(folders, examples)
    ]
    twice = (
        {name for name in plain if plain.count(name) > 1} if len(set(plain)) < len(plain) else ()
    )
    names: dict[str, Example] = {}
    problems = []
    for name, example in zip(plain, examples):
        if name in twice and example.place.split:
            name = _join(example.place.split, name)
        if name in names:
            problems.append(
                FileProblem(example.image, f'has the name of {names[name].image}; rename one')
            )
        names[name] = example
    if problems:
        raise UnusableData(problems, len(examples), 'images')
    return dict(sorted(names.items()))


def _join(folder: str, name: str) -> str:
    return f'{folder}/{name}' if folder else name


def _stated_splits(
    names: dict[str, Example],
    found: FoundData,
    source: Source,
    splitting: Splitting,
    notes: list[str],
) -> dict[str, str] | None:
    """Return the split of each image by lists or folders, None if they are to be drawn."""
    if splitting.draw:
        return None
    lists = (
        splits.given_lists(splitting.lists)
        if splitting.lists
        else splits.find_lists(source.root, source.files)
    )
    if lists:
        images = {name: example.image for name, example in names.items()}
        result = splits.by_lists(lists, images, found.unlabelled, source.root)
        if len(result) < len(names):
            rest = next(name for name in names if name not in result)
            notes.append(
                f'{len(names) - len(result):,} labelled images are in no list, such as '
                f'{names[rest].image}; they are left out'
            )
        return result
    known = {name: example.place.split for name, example in names.items() if example.place.split}
    if not known:
        return None
    if len(known) < len(names):
        rest = next(name for name in names if name not in known)
        raise UserError(
            f'{len(names) - len(known)} of {len(names)} images are in no folder of a split, such '
            f'as {names[rest].image}; use --draw or --split-lists.'
        )
    return known


def _draw_labels(
    found: FoundData,
    names: dict[str, Example],
    positions: np.ndarray,
    num_classes: int,
    source: Source,
    folder: Path,
) -> dict[str, _Drawn]:
    """Write all labels into ``staged`` in parallel.

    Raises:
        UnusableData: Some cannot be drawn.
    """
    write = partial(
        _write_label,
        # The examples travel with their tasks, not with the function.
        replace(found, examples=[], unlabelled=[]),
        positions,
        num_classes,
        source.reading.orientation,
        folder / 'staged',
    )
    for name in names:
        (folder / 'staged' / name).parent.mkdir(parents=True, exist_ok=True)
    results, problems = map_files(
        write, list(names.items()), source.reading.jobs, 'writing labels', 'label'
    )
    if problems:
        raise UnusableData(problems, len(names), 'labels')
    return {result.name: result for result in results}


def _write_label(
    found: FoundData,
    positions: np.ndarray,
    num_classes: int,
    orientation: str | None,
    folder: Path,
    item: tuple[str, Example],
) -> _Drawn:
    name, example = item
    label = positions[found.draw(example.label)]
    header = read_header(example.image)
    stored = follows_stored_pixels(example.image, header, label.shape, orientation, found.upright)
    Image.fromarray(label).save(folder / f'{name}.png')
    counts = np.bincount(label.ravel(), minlength=256)
    return _Drawn(name, np.append(counts[:num_classes], counts[IGNORED]), header, stored)


def _drawn_splits(
    names: dict[str, Example],
    drawn: dict[str, _Drawn],
    stated: dict[str, str] | None,
    splitting: Splitting,
    root: Path,
) -> dict[str, str]:
    """Return the split of each image; draw those that are not stated.

    Raises:
        UserError: There are too few images.
    """
    to_draw = list(names)
    result = dict(stated or {})
    if stated is not None:
        if 'val' in result.values() and 'train' in result.values():
            return result
        # Without validation images, some of the training images are drawn.
        to_draw = [name for name in names if result[name] != 'test']
        splitting = replace(splitting, shares=(*splitting.shares[:2], 0.0))
    if len(to_draw) < 2:
        raise UserError(
            f'got {len(to_draw)} labelled images in {root}, expected at least 2; label more.'
        )
    paths = {name: names[name].image.relative_to(root).as_posix() for name in to_draw}
    groups = splits.groups_of(paths, splitting.groups)
    presence = {name: drawn[name].counts[:-1] > 0 for name in to_draw}
    result.update(splits.draw_splits(groups, presence, splitting))
    return result


def _place_files(
    names: dict[str, Example],
    drawn: dict[str, _Drawn],
    split_of: dict[str, str],
    suffix: str,
    folder: Path,
    copy: bool,
    jobs: int,
) -> int:
    """Move the labels and link the images into the folders of their splits.

    Returns:
        Number of images that were rewritten.
    """
    tasks = []
    for name, example in names.items():
        image = folder / 'images' / split_of[name] / f'{name}{suffix}'
        label = folder / 'labels' / split_of[name] / f'{name}.png'
        for path in (image, label):
            path.parent.mkdir(parents=True, exist_ok=True)
        (folder / 'staged' / f'{name}.png').rename(label)
        tasks.append((example.image, image, drawn[name].header, drawn[name].stored, copy))
    shutil.rmtree(folder / 'staged')
    results, problems = map_files(_place_image, tasks, jobs, 'writing images', 'image')
    if problems:
        raise UnusableData(problems, len(tasks), 'images')
    return sum(results)


def _place_image(task: tuple[Path, Path, ImageHeader, bool, bool]) -> bool:
    return place_image(*task)


def _summarise(
    kind: str,
    source: Source,
    entries: Sequence[ClassEntry],
    drawn: dict[str, _Drawn],
    split_of: dict[str, str],
    notes: list[str],
) -> Summary:
    classes = [entry.name for entry in entries]
    statistics = {}
    for split in splits.SPLITS:
        counts = [item.counts for name, item in sorted(drawn.items()) if split_of[name] == split]
        if counts:
            statistics[split] = LabelStatistics.collect(classes, counts)
    sizes = [
        item.header.size if item.stored else item.header.upright_size for item in drawn.values()
    ]
    table = None if source.table_path is None else str(source.table_path)
    return Summary(kind, table, statistics, sizes, notes)


@contextmanager
def _complete_or_missing(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``out`` at the end, or is removed after an error."""
    missing = [folder for folder in out.absolute().parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
    try:
        yield folder
        # mkdtemp makes folders that only their owner can read.
        mask = os.umask(0)
        os.umask(mask)
        folder.chmod(0o777 & ~mask)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()
        raise
