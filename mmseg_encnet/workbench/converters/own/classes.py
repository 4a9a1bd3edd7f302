"""Classes of a data set, and tables of their names, values and colours."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmseg_encnet.disk import shown
from mmseg_encnet.errors import UserError, first_line
from mmseg_encnet.plain_json import parse_json
from mmseg_encnet.values import brief

Colour = tuple[int, int, int]

IGNORED = 255
MAX_CLASSES = 255
# LabelMe's names for pixels to ignore and for the background.
IGNORED_NAME, BACKGROUND_NAME = '__ignore__', '_background_'
BACKGROUND = 'background'
_BACKGROUND_NAMES = (BACKGROUND, BACKGROUND_NAME)
# Names of the files that annotation tools and published data sets use, best first.
TABLE_NAMES = (
    'colours.csv',
    'classes.txt',
    'labelmap.txt',
    'label_colors.txt',
    '_classes.csv',
    'class_dict.csv',
    'class_names.txt',
    'label_names.txt',
    'labels.txt',
    'objectInfo150.txt',
    'meta.json',
)
_NAME = ('name', 'class', 'label', 'title', 'class name', 'class_name', 'classes')
_VALUE = ('value', 'pixel value', 'index', 'idx', 'id', 'class id', 'class_id', 'label_id')
_COLOUR = ('colour', 'color', 'rgb', 'hex', 'color_rgb')
_CHANNELS = (('r', 'red'), ('g', 'green'), ('b', 'blue'))
_HEX = re.compile(r'(?:#|\b0x)?\b([0-9a-fA-F]{6})\b')


@dataclass(frozen=True)
class ClassEntry:
    """A class.

    Attributes:
        name: Its name.
        value: Its value in labels of one channel, None if unknown.
        colour: Its RGB colour, None if unknown.
        ignored: Whether its pixels are ignored.
    """

    name: str
    value: int | None = None
    colour: Colour | None = None
    ignored: bool = False

    @property
    def is_background(self) -> bool:
        """Whether the name says that this is the background."""
        return self.name.lower() in _BACKGROUND_NAMES


def hex_colour(colour: Colour) -> str:
    """Return a colour as ``#rrggbb``."""
    return '#{:02x}{:02x}{:02x}'.format(*colour)


def read_table(path: Path) -> list[ClassEntry]:
    """Read a table of classes.

    JSON (lists or dictionaries of names, values and colours, Supervisely's ``meta.json``), CSV with
    a header (Roboflow's ``_classes.csv``, ``name,r,g,b``), CVAT's ``labelmap.txt``, and text with
    one class per line: a name alone or with a value, a colour in three numbers, or ``#rrggbb``.
    Several colours or values with one name are one class.

    Raises:
        UserError: The file is missing, has another format, or lists a class twice.
    """
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'class table {path} cannot be read ({first_line(error)}).') from error
    if path.suffix.lower() == '.json':
        entries = _from_json(path, text)
    else:
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not _is_comment(line)]
        header = _header(lines[0]) if lines else None
        if header is not None:
            entries = _from_columns(path, lines, *header)
        else:
            entries = [_from_line(path, line) for line in lines]
            if len({entry.name for entry in entries}) < len(entries):
                # Names that end with numbers: lane 1, lane 2.
                plain = [ClassEntry(line) for line in lines]
                entries = plain if all(entry.colour is None for entry in entries) else entries
    _check(path, entries)
    return [
        replace(entry, ignored=True) if entry.name == IGNORED_NAME else entry for entry in entries
    ]


def write_table(path: Path, entries: Iterable[ClassEntry]) -> None:
    """Write a table that :func:`read_table` reads."""
    with path.open('w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['name', 'value', 'r', 'g', 'b'])
        for entry in entries:
            value = '' if entry.value is None else entry.value
            writer.writerow([entry.name, value, *(entry.colour or ('', '', ''))])


def find_table(root: Path, folders: Iterable[Path]) -> Path | None:
    """Return the class table in a folder or in folders below it, None if there is none.

    Raises:
        UserError: The tables of several folders differ.
    """
    for name in TABLE_NAMES:
        if (root / name).is_file():
            return root / name
    for name in TABLE_NAMES:
        found = sorted({folder / name for folder in folders if (folder / name).is_file()})
        contents = {path.read_bytes() for path in found}
        if len(contents) > 1:
            raise UserError(
                f'class tables {found[0]} and {found[1]} differ; choose one with --colours FILE.'
            )
        if found:
            return found[0]
    return None


def ignore(entries: Sequence[ClassEntry], wanted: Iterable[str]) -> list[ClassEntry]:
    """Mark classes as ignored, given by name, value or ``#rrggbb``.

    Raises:
        UserError: There is no such class.
    """
    result = list(entries)
    for text in wanted:
        matches = [index for index, entry in enumerate(result) if _matches(entry, text)]
        if not matches:
            known = ', '.join(brief(entry.name) for entry in result[:30])
            raise UserError(
                f'cannot ignore {brief(text)}, which is not a class; choose from {known}.'
            )
        for index in matches:
            result[index] = replace(result[index], ignored=True)
    return result


def with_colours(entries: Sequence[ClassEntry]) -> list[ClassEntry]:
    """Give a colour to every class that has none, or has the colour of an earlier class."""
    used: set[Colour] = set()
    result = []
    spread = (_spread_colour(index) for index in range(10_000))
    for entry in entries:
        colour = entry.colour
        if colour is None and entry.is_background:
            colour = (0, 0, 0)
        while colour is None or colour in used:
            colour = next(spread)
        used.add(colour)
        result.append(replace(entry, colour=colour))
    return result


def _spread_colour(index: int) -> Colour:
    """Return a colour that is far from the previous ones and from black."""
    # Steps of the golden ratio spread any number of hues evenly.
    rgb = hsv_to_rgb(index * 0.618034 % 1, 0.75, (0.95, 0.7)[index % 2])
    red, green, blue = (round(255 * value) for value in rgb)
    return red, green, blue


def _matches(entry: ClassEntry, text: str) -> bool:
    if entry.name.lower() == text.lower() or str(entry.value) == text:
        return True
    match = _HEX.fullmatch(text)
    return bool(match) and entry.colour == _parse_hex(match[1])


def _parse_hex(digits: str) -> Colour:
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def _is_comment(line: str) -> bool:
    return line.startswith(('# ', '//', ';')) or line == '#' or line.startswith('#label')


def _header(line: str) -> tuple[dict[str, int], str] | None:
    """Return the columns and the delimiter of a header line, None if it is not one."""
    for delimiter in (',', '\t', ';'):
        cells = [cell.strip().strip('"').lower() for cell in line.split(delimiter)]
        names = {cell: index for index, cell in enumerate(cells)}
        known = {*_NAME, *_VALUE, *_COLOUR, *(name for pair in _CHANNELS for name in pair)}
        if len(cells) > 1 and len(known & names.keys()) > 1 and set(_NAME) & names.keys():
            return names, delimiter
    return None


def _from_columns(
    path: Path, lines: Sequence[str], columns: Mapping[str, int], delimiter: str
) -> list[ClassEntry]:
    entries = []
    for row in csv.reader(lines[1:], delimiter=delimiter):
        fields = {name: row[index] for name, index in columns.items() if index < len(row)}
        try:
            entries.append(_from_fields(fields))
        except ValueError as error:
            raise UserError(
                f'line {brief(delimiter.join(row))} of class table {path} cannot be read '
                f'({shown(first_line(error))}); correct it.'
            ) from error
    return entries


def _from_line(path: Path, line: str) -> ClassEntry:
    """Parse a name with numbers or a hexadecimal colour before or after it."""
    # CVAT's labelmap.txt: name:r,g,b:parts:actions
    cvat = re.fullmatch(r'(.+?):(\d+),(\d+),(\d+)(?::.*)?', line)
    if cvat:
        return ClassEntry(cvat[1], None, _checked(path, line, cvat.groups()[1:]))
    colour = None
    hexadecimal = re.search(r'#([0-9a-fA-F]{6})\b', line)
    if hexadecimal:
        colour = _parse_hex(hexadecimal[1])
        line = line.replace(hexadecimal[0], ' ')
    before = re.match(r'[\s\[(]*((?:\d+[\s,;:\])]+)+)(?=\D)', line)
    after = re.search(r'(?<=\D)((?:[\s,;:\[(=]+\d+)+)[\s\])]*$', line)
    match = before or after
    if match is None:
        return ClassEntry(_clean(path, line), None, colour)
    numbers = re.findall(r'\d+', match[1])
    name = _clean(path, line[match.end() :] if before else line[: match.start()])
    if len(numbers) in (3, 4) and colour is None:
        value = int(numbers[0]) if len(numbers) == 4 else None
        return ClassEntry(name, value, _checked(path, line, numbers[-3:]))
    if len(numbers) == 1:
        return ClassEntry(name, int(numbers[0]), colour)
    if before is None or len(numbers) == 2:
        # A name that ends with numbers.
        return ClassEntry(_clean(path, line), None, colour)
    raise UserError(
        f'line {brief(line)} of class table {path} has {len(numbers)} numbers, expected a '
        'value, a colour in three numbers, or both; correct it.'
    )


def _clean(path: Path, text: str) -> str:
    name = text.strip(' \t,;:="\'[]()')
    if not name:
        raise UserError(f'class table {path} has a line without a class name; correct it.')
    return name


def _checked(path: Path, line: str, numbers: Sequence[str]) -> Colour:
    try:
        colour = _colour([int(number) for number in numbers])
    except ValueError as error:
        raise UserError(
            f'line {brief(line)} of class table {path} cannot be read ({error}); correct it.'
        ) from error
    assert colour is not None
    return colour


def _colour(value: Any) -> Colour | None:
    """Return the colour in a list of three numbers, ``#rrggbb`` or ``r,g,b``."""
    if value is None:
        return None
    if isinstance(value, str):
        match = _HEX.fullmatch(value.strip())
        if match:
            return _parse_hex(match[1])
        value = [int(number) for number in re.findall(r'\d+', value)]
    numbers = [int(number) for number in value]
    if len(numbers) not in (3, 4) or not all(0 <= number <= 255 for number in numbers):
        raise ValueError(f'{shown(str(numbers))} is not an RGB colour from 0 to 255')
    return numbers[0], numbers[1], numbers[2]


def _from_json(path: Path, text: str) -> list[ClassEntry]:
    try:
        content = parse_json(text)
        if isinstance(content, dict):
            for key in ('classes', 'labels', 'categories'):
                if isinstance(content.get(key), list):
                    content = content[key]
                    break
        if isinstance(content, dict):
            return [_from_item(key, value) for key, value in content.items()]
        return [_from_value(item) for item in content]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UserError(
            f'class table {path} cannot be read ({first_line(error)}); expected a list or '
            'dictionary of names, values and colours.'
        ) from error


def _from_item(key: str, value: Any) -> ClassEntry:
    """Parse ``name: colour``, ``name: value``, ``value: name`` or ``colour: name``."""
    if isinstance(value, dict):
        return _from_value({'name': key, **value})
    if isinstance(value, str) and not _HEX.fullmatch(value):
        if key.isdigit():
            return ClassEntry(value, int(key))
        return ClassEntry(value, None, _colour(key))
    if isinstance(value, int):
        return ClassEntry(key, value)
    return ClassEntry(key, None, _colour(value))


def _from_value(item: Any) -> ClassEntry:
    if isinstance(item, str):
        return ClassEntry(item)
    return _from_fields({str(key).lower(): value for key, value in item.items()})


def _from_fields(fields: Mapping[str, Any]) -> ClassEntry:
    """Parse a row of columns, or a dictionary in JSON, by the names of its fields."""
    texts = {
        key: value.strip() if isinstance(value, str) else value for key, value in fields.items()
    }

    def first(names: Iterable[str]) -> Any:
        return next((texts[key] for key in names if texts.get(key) not in (None, '')), None)

    name, value = first(_NAME), first(_VALUE)
    if name is None:
        raise ValueError('it has no name')
    channels = [first(names) for names in _CHANNELS]
    colour = _colour(first(_COLOUR) if None in channels else channels)
    return ClassEntry(str(name), None if value is None else int(value), colour)


def _check(path: Path, entries: Sequence[ClassEntry]) -> None:
    if not entries:
        raise UserError(f'class table {path} lists no class; correct it.')
    for what in ('name', 'value', 'colour'):
        seen: set[Any] = set()
        for entry in entries:
            key = getattr(entry, what)
            if what == 'name' and (entry.value is not None or entry.colour is not None):
                continue
            if key is not None and key in seen:
                text = hex_colour(key) if what == 'colour' else brief(key)
                raise UserError(f'class table {path} lists the {what} {text} twice; correct it.')
            seen.add(key)
