"""What a format's reader finds in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_encnet.disk import shown
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.own.classes import (
    BACKGROUND,
    IGNORED,
    IGNORED_NAME,
    ClassEntry,
)
from mmseg_encnet.workbench.converters.own.files import Place
from mmseg_encnet.workbench.converters.own.options import Reading
from mmseg_encnet.workbench.converters.own.problems import UNKNOWN, FileProblem


@dataclass(frozen=True)
class Source:
    """The folder of a user.

    Attributes:
        root: The folder.
        files: Its files.
        table: Classes of the user's table, None without one.
        table_path: File of the table.
        reading: What the user stated.
    """

    root: Path
    files: Sequence[Path]
    table: list[ClassEntry] | None
    table_path: Path | None
    reading: Reading


@dataclass(frozen=True)
class Example:
    """A labelled image.

    Attributes:
        image: The image, or a LabelMe file that contains it.
        place: What its folders say.
        label: Input of :attr:`FoundData.draw`; picklable.
        stem: Name of the image without suffix.
    """

    image: Path
    place: Place
    label: Any
    stem: str


@dataclass(frozen=True)
class FoundData:
    """Images and labels of a folder in one format.

    Attributes:
        format: Name of the format.
        examples: The labelled images.
        entries: Classes by position.
        draw: Picklable function from :attr:`Example.label` to the positions of the classes,
            ``(H, W)`` uint8, 255 for ignored pixels. It raises ``FileProblem``.
        unlabelled: Images without a label.
        unlabelled_is_normal: Whether the format lists its images, so that others are left out.
        upright: Whether the tool of the format draws on upright photographs.
        notes: Sentences about doubtful findings.
    """

    format: str
    examples: list[Example]
    entries: list[ClassEntry]
    draw: Callable[[Any], np.ndarray]
    unlabelled: list[Path] = field(default_factory=list)
    unlabelled_is_normal: bool = False
    upright: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ShapeClasses:
    """Classes of a format that draws named shapes on a background.

    Attributes:
        entries: Classes by position.
        background: Position of the background.
        ignore_unknown: Whether pixels of other classes are ignored.
    """

    entries: list[ClassEntry]
    background: int
    ignore_unknown: bool

    def position(self, name: str, path: Path | str, image: str | None = None) -> int:
        """Return the position of a class, 255 for ignored pixels.

        Raises:
            FileProblem: The class is unknown; the message names the file and the image in it.
        """
        for position, entry in enumerate(self.entries):
            same = entry.name == name
            if same or (entry.is_background and ClassEntry(name).is_background):
                return position
        if name == IGNORED_NAME or self.ignore_unknown:
            return IGNORED
        where = '' if image is None else f'{shown(image)} '
        raise FileProblem(path, f'{where}contains the unknown class {shown(name)!r}', UNKNOWN)


def shape_classes(
    found: Sequence[ClassEntry], source: Source, *, keep_order: bool = True
) -> ShapeClasses:
    """Return the classes of named shapes: the background, then those of the table or the files.

    Args:
        found: Classes in the files.
        source: The folder; its table comes before the classes in the files.
        keep_order: Whether the order in the files means something; else they are sorted by name.

    Raises:
        UserError: There is no class.
    """
    found = [entry for entry in found if entry.name != IGNORED_NAME]
    if not keep_order:
        found = sorted(found, key=lambda entry: entry.name)
    entries = list(found)
    if source.table is not None:
        colours = {entry.name: entry.colour for entry in found}
        entries = [
            replace(entry, value=None, colour=entry.colour or colours.get(entry.name))
            for entry in source.table
        ]
    if all(entry.is_background for entry in entries):
        raise UserError(f'the labels in {source.root} contain no shapes; check the path.')
    background = next((i for i, entry in enumerate(entries) if entry.is_background), None)
    if background is None:
        background = 0
        entries.insert(0, ClassEntry(BACKGROUND))
    entry = entries[background]
    ignored = entry.ignored or source.reading.background == 'ignore'
    entries[background] = replace(entry, name=BACKGROUND, ignored=ignored)
    return ShapeClasses(entries, background, source.reading.ignore_unknown)
