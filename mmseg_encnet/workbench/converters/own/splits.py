"""Divide images into train, val and test: by lists, by folders, or by a draw of groups."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmseg_encnet.disk import shown
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.own.files import split_of_name
from mmseg_encnet.workbench.converters.own.options import Splitting
from mmseg_encnet.workbench.converters.own.problems import FileProblem, UnusableData

SPLITS = ('train', 'val', 'test')


def find_lists(root: Path, files: Sequence[Path]) -> dict[str, Path]:
    """Return the lists ``train.txt``, ``val.txt``, ``test.txt`` of a folder by split.

    Those in ``ImageSets/Segmentation`` count first, then those in other folders.

    Raises:
        UserError: Several folders have lists.
    """
    folders: dict[Path, dict[str, Path]] = defaultdict(dict)
    for path in files:
        if path.suffix.lower() == '.txt' and path.stem.lower() in (*SPLITS, 'valid', 'validation'):
            split = split_of_name(path.stem)
            if split:
                folders[path.parent][split] = path
    usable = {folder: lists for folder, lists in folders.items() if 'train' in lists}
    pascal = [folder for folder in usable if folder.parts[-2:] == ('ImageSets', 'Segmentation')]
    chosen = pascal or list(usable)
    if len(chosen) > 1:
        raise UserError(
            f'{chosen[0]} and {chosen[1]} both have lists of images; choose with --split-lists.'
        )
    return usable[chosen[0]] if chosen else {}


def given_lists(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the lists that a user named: a folder, or files with a split in their name.

    Raises:
        UserError: A list is missing, or its name does not say the split.
    """
    files = []
    for path in paths:
        if path.is_dir():
            files += sorted(
                file for file in path.glob('*.txt') if file.stem in (*SPLITS, 'valid', 'validation')
            )
        else:
            files.append(path)
    lists: dict[str, Path] = {}
    for path in files:
        split = split_of_name(path.stem)
        if split is None or split in lists:
            raise UserError(
                f'list {path} must have one of {", ".join(SPLITS)} in its name, each once.'
            )
        lists[split] = path
    missing = [split for split in ('train', 'val') if split not in lists]
    if missing:
        raise UserError(
            f'got no list for {missing[0]} in {" ".join(map(str, paths))}, expected train.txt and '
            'val.txt.'
        )
    return lists


def by_lists(
    lists: Mapping[str, Path], images: Mapping[str, Path], others: Sequence[Path], root: Path
) -> dict[str, str]:
    """Return the split of each listed image.

    A line is a name, or a path with or without suffix, relative to anything; other columns, such
    as the label, are ignored.

    Args:
        lists: List by split.
        images: Image of each name.
        others: Images without a label; they may be listed for testing.
        root: Folder of the images.

    Raises:
        UserError: A listed image is missing or listed for two splits, or names are ambiguous.
    """
    index: dict[str, set[str]] = defaultdict(set)
    for name, path in images.items():
        for key in _keys(path.relative_to(root).as_posix()):
            index[key].add(name)
    unlabelled = {key for path in others for key in _keys(path.relative_to(root).as_posix())}
    result: dict[str, str] = {}
    problems: list[FileProblem] = []
    total = 0
    for split, path in lists.items():
        try:
            lines = path.read_text(encoding='utf-8-sig').splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f'list {path} cannot be read ({error}).') from error
        for line in filter(None, map(str.strip, lines)):
            total += 1
            found, known = _look_up(line, index, unlabelled)
            if len(found) == 1:
                name = next(iter(found))
                if result.setdefault(name, split) != split:
                    problems.append(
                        FileProblem(
                            path, f'lists {shown(line)}, which is also listed for {result[name]}'
                        )
                    )
            elif found:
                problems.append(
                    FileProblem(path, f'lists {shown(line)}, the name of {len(found)} images')
                )
            elif not known:
                problems.append(
                    FileProblem(path, f'lists {shown(line)}, which is not among the images')
                )
            elif split != 'test':
                problems.append(FileProblem(path, f'lists {shown(line)}, which has no label'))
    if problems:
        raise UnusableData(problems, total, 'listed images')
    return result


def _look_up(line: str, index: Mapping[str, set[str]], unlabelled: set[str]):
    """Return the names of the images of a line, and whether one without a label matches."""
    for text in dict.fromkeys((line, re.split(r'[\s,]+', line)[0])):
        parts = text.replace('\\', '/').strip('/').split('/')
        # From the whole path to the file name, as lists often have paths of another machine.
        for start in range(len(parts)):
            for key in ('/'.join(parts[start:]), _without_suffix('/'.join(parts[start:]))):
                if key in index:
                    return index[key], True
                if key in unlabelled:
                    return set(), True
    return set(), False


def _keys(path: str) -> list[str]:
    """Return all ends of a path, with and without suffix."""
    parts = path.split('/')
    ends = ['/'.join(parts[start:]) for start in range(len(parts))]
    return [*ends, *map(_without_suffix, ends)]


def _without_suffix(path: str) -> str:
    folder, slash, name = path.rpartition('/')
    stem, dot, _ = name.rpartition('.')
    return f'{folder}{slash}{stem if dot else name}'


def groups_of(names: Mapping[str, str], pattern: str | None) -> dict[str, str]:
    """Return the group of each image: what a pattern finds in its name, or the image itself.

    Args:
        names: Relative path of each image.
        pattern: Regular expression for the file name, or for the path if it contains ``/``.

    Raises:
        UserError: The pattern matches no image, or not all of them.
    """
    if pattern is None:
        return {name: name for name in names}
    groups, missing = {}, []
    for name, path in names.items():
        match = re.search(pattern, path if '/' in pattern else path.rpartition('/')[2])
        if match is None:
            missing.append(path)
        else:
            groups[name] = '\0'.join(part or '' for part in (match.groups() or (match.group(),)))
    if missing:
        raise UserError(
            f'--groups {pattern!r} matches {len(groups)} of {len(names)} images, not {missing[0]}; '
            'correct the expression.'
        )
    return groups


def draw_splits(
    groups: Mapping[str, str], presence: Mapping[str, np.ndarray], splitting: Splitting
) -> dict[str, str]:
    """Draw the split of each image, with similar shares of every class.

    Groups are distributed one by one, those of the rarest class first, to the split that lacks most
    of its share of that class (iterative stratification, Sechidis et al., ECML 2011).

    Args:
        groups: Group of each image.
        presence: Which classes each image contains, ``(C,)`` bool.
        splitting: Shares and seed.

    Raises:
        UserError: There are fewer groups than splits.
    """
    shares = np.asarray(splitting.shares, float)
    wanted = [index for index in range(3) if shares[index] > 0]
    members: dict[str, list[str]] = defaultdict(list)
    for name in sorted(groups):
        members[groups[name]].append(name)
    if len(members) < len(wanted):
        raise UserError(
            f'got {len(members)} groups of images for {len(wanted)} splits; change --groups or '
            '--shares.'
        )
    shares = shares / shares.sum()
    keys = sorted(members)
    keys = [keys[index] for index in np.random.default_rng(splitting.seed).permutation(len(keys))]
    # The last column counts images.
    counts = np.array(
        [
            np.append(sum(presence[name].astype(int) for name in members[key]), len(members[key]))
            for key in keys
        ]
    )
    lacking = shares[:, None] * counts.sum(axis=0)
    holds = counts[:, :-1] > 0
    left = np.ones(len(keys), bool)
    empty = set(wanted)
    result: dict[str, str] = {}
    while left.any():
        holders = holds[left].sum(axis=0)
        rarest = (
            int(np.where(holders > 0, holders, len(keys) + 1).argmin()) if holders.any() else -1
        )
        turn = left & holds[:, rarest] if holders.any() else left
        for index in np.flatnonzero(turn):
            # The last groups go to splits that have none.
            options = list(empty) if 0 < left.sum() <= len(empty) else wanted
            split = max(options, key=lambda option: (lacking[option, rarest], lacking[option, -1]))
            lacking[split] -= counts[index]
            empty.discard(split)
            left[index] = False
            result.update(dict.fromkeys(members[keys[index]], SPLITS[split]))
    return result
