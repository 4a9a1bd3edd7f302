"""Find the images that annotation files name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from mmseg_encnet.datasets.loading import IMAGE_SUFFIXES
from mmseg_encnet.workbench.converters.own.files import has_suffix
from mmseg_encnet.workbench.converters.own.found import Example, Source


class ImageIndex:
    """The images of a folder by name.

    Args:
        source: The folder; ``--images`` restricts the index to a part of it.
    """

    def __init__(self, source: Source) -> None:
        root = source.root / (source.reading.images or '')
        self.images = [
            path
            for path in source.files
            if has_suffix(path, (*IMAGE_SUFFIXES, '.gif')) and path.is_relative_to(root)
        ]
        self._known = set(self.images)
        self._by_name = defaultdict(list)
        for path in self.images:
            self._by_name[path.name.lower()].append(path)

    def find(self, name: str, beside: Path, folder: str = '') -> Path | None:
        """Return the image of a name in an annotation file, None if there is none or many.

        Args:
            name: The name, possibly with folders of another machine.
            beside: The annotation file.
            folder: Folder that the image's path should contain if several images match.
        """
        parts = PurePosixPath(name.replace('\\', '/')).parts
        direct = Path(beside.parent, *parts)
        if direct in self._known:
            return direct
        matches = self._by_name.get(parts[-1].lower(), []) if parts else []
        # Of several, those that share most folders at the end.
        best = max((_common_end(path, parts) for path in matches), default=0)
        matches = [path for path in matches if _common_end(path, parts) == best]
        if len(matches) > 1:
            matches = _near(matches, beside, folder)
        return matches[0] if len(matches) == 1 else None

    def unlabelled(self, examples: Iterable[Example]) -> list[Path]:
        """Return the images of none of the examples."""
        used = {example.image for example in examples}
        return [path for path in self.images if path not in used]

    def beside(self, path: Path) -> Path | None:
        """Return the image with the name of an annotation file, None if there is none."""
        for suffix in (*IMAGE_SUFFIXES, '.gif'):
            for end in (suffix, suffix.upper()):
                if path.with_suffix(end) in self._known:
                    return path.with_suffix(end)
        return None


def _common_end(path: Path, parts: Iterable[str]) -> int:
    count = 0
    for own, other in zip(reversed(path.parts), reversed(list(parts))):
        if own.lower() != other.lower():
            break
        count += 1
    return count


def _near(matches: list[Path], beside: Path, folder: str) -> list[Path]:
    """Return the images in the annotation file's folder, else those in a folder of a name."""
    same = [path for path in matches if path.is_relative_to(beside.parent)]
    if 0 < len(same) < len(matches):
        return same
    if folder:
        return [path for path in matches if folder in '/'.join(path.parts[-3:-1])] or matches
    return matches
