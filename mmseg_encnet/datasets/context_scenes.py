"""Context scenes as a data set of the toolbox, drawn when they are read."""

from __future__ import annotations

import re
from functools import lru_cache

import cv2
from mmengine.fileio import BaseStorageBackend, register_backend
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from mmseg_encnet.datasets.scenes import CLASSES, PALETTE, SPLITS, TWINS, Scene, draw_scene
from mmseg_encnet.errors import UserError

PREFIX = 'context-scenes'
_URI = re.compile(
    rf'{PREFIX}://(?P<kind>images|labels)/(?P<seed>\d+)/(?P<split>{"|".join(SPLITS)})/(?P<index>\d+)\.png'
)

# An image and its label map are read in succession, so one cached scene saves the second drawing.
_draw_scene = lru_cache(maxsize=1)(draw_scene)


def scene_uri(kind: str, seed: int, split: str, index: int) -> str:
    """Return the address of an image (``kind='images'``) or label map (``'labels'``)."""
    return f'{PREFIX}://{kind}/{seed}/{split}/{index:06d}.png'


@register_backend(PREFIX, prefixes=PREFIX, force=True)
class ContextScenesBackend(BaseStorageBackend):
    """File backend for ``context-scenes://{images,labels}/SEED/SPLIT/INDEX.png``.

    With it, everything in the toolbox that reads a file by its name (loading transforms,
    visualisation hooks, inferencers) reads scenes as PNG files.
    """

    def get(self, filepath: str) -> bytes:
        """Return the PNG bytes of the image (8-bit RGB) or label map (8-bit grey) at an address.

        Raises:
            UserError: The address does not have this form.
        """
        match = _URI.fullmatch(str(filepath))
        if match is None:
            raise UserError(
                f'{str(filepath)!r} is not the address of a context scene, expected for example '
                f'{scene_uri("images", 0, "val", 12)!r}, with images or labels, a seed, one of '
                f'{", ".join(SPLITS)}, and an index.'
            )
        scene: Scene = _draw_scene(int(match['seed']), match['split'], int(match['index']))
        pixels = scene.label if match['kind'] == 'labels' else scene.image[..., ::-1]
        # The bytes are not stored, so speed matters more than size.
        return cv2.imencode('.png', pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()

    def exists(self, filepath: str) -> bool:
        """Return whether an address is well formed; every such scene can be drawn."""
        return _URI.fullmatch(str(filepath)) is not None

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """Raise, because scenes are images and contain no text."""
        raise UserError(f'{str(filepath)!r} is an image; read it with get().')


@DATASETS.register_module()
class ContextScenesDataset(BaseSegDataset):
    """Drawn landscapes with pairs of look-alike classes that only the rest of the scene
    distinguishes.

    ``metainfo['twins']`` lists the pairs. `docs/context_scenes.md` describes how a scene is drawn.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'``. Splits share no scenes.
        num_scenes: Length of the data set: it contains the first scenes of an infinite sequence. An
            even number keeps matched pairs (scenes 2k and 2k + 1: one layout, opposite settings)
            together.
        seed: Seed of the data set.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset` other than those about files.

    Raises:
        UserError: ``split``, ``num_scenes`` or ``seed`` is invalid.
    """

    METAINFO = dict(classes=CLASSES, palette=[list(colour) for colour in PALETTE], twins=TWINS)

    def __init__(
        self, split: str = 'train', num_scenes: int = 200, seed: int = 0, **kwargs
    ) -> None:
        if split not in SPLITS:
            raise UserError(f'split must be one of {", ".join(SPLITS)}, got {split!r}.')
        if num_scenes < 1:
            raise UserError(f'num_scenes must be positive, got {num_scenes}.')
        if seed < 0:
            raise UserError(f'seed must not be negative, got {seed}.')
        self.split = split
        self.num_scenes = num_scenes
        self.seed = seed
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        return [
            dict(
                img_path=scene_uri('images', self.seed, self.split, index),
                seg_map_path=scene_uri('labels', self.seed, self.split, index),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for index in range(self.num_scenes)
        ]
