"""Context scenes as a data set of the toolbox: drawn when they are read, stored nowhere."""

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

# An image and its label map are read one after the other: the second read needs no second drawing.
_draw_scene = lru_cache(maxsize=1)(draw_scene)


def scene_uri(kind: str, seed: int, split: str, index: int) -> str:
    """Address of one image (``kind='images'``) or label map (``'labels'``)."""
    return f'{PREFIX}://{kind}/{seed}/{split}/{index:06d}.png'


@register_backend(PREFIX, prefixes=PREFIX, force=True)
class ContextScenesBackend(BaseStorageBackend):
    """Serves scenes as PNG files under ``context-scenes://{images,labels}/SEED/SPLIT/INDEX.png``.

    Everything in the toolbox that reads a file by its name (loading transforms, visualisation
    hooks, inferencers) reads scenes too.
    """

    def get(self, filepath: str) -> bytes:
        """PNG bytes of the image (8-bit RGB) or label map (8-bit grey) at this address.

        Raises:
            UserError: If the address is not of the form above.
        """
        match = _URI.fullmatch(str(filepath))
        if match is None:
            raise UserError(
                f'{str(filepath)!r} is no address of a context scene; expected for example '
                f'{scene_uri("images", 0, "val", 12)!r}, with images or labels, a seed, one of '
                f'{", ".join(SPLITS)}, and a number.'
            )
        scene: Scene = _draw_scene(int(match['seed']), match['split'], int(match['index']))
        picture = scene.label if match['kind'] == 'labels' else scene.image[..., ::-1]
        # Nothing is stored, so time is worth more than bytes.
        return cv2.imencode('.png', picture, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()

    def exists(self, filepath: str) -> bool:
        """Whether this is the address of a scene: whichever it is, it can be drawn."""
        return _URI.fullmatch(str(filepath)) is not None

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """Not available: scenes are images."""
        raise UserError(f'{str(filepath)!r} is an image; read it with get().')


@DATASETS.register_module()
class ContextScenesDataset(BaseSegDataset):
    """Little drawn landscapes in which pairs of classes look alike and only the rest of the scene
    tells them apart.

    ``metainfo['twins']`` names the pairs. `docs/context_scenes.md` says how a scene is drawn.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'``; no scene is in two of them.
        num_scenes: Number of scenes: the first so many of an endless sequence. An even number keeps
            matched pairs (scenes 2k and 2k + 1: one layout, opposite settings) together.
        seed: Seed of the whole data set; another seed gives other scenes.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset` other than those about files.

    Raises:
        UserError: If ``split``, ``num_scenes`` or ``seed`` is not one of the values above.
    """

    METAINFO = dict(classes=CLASSES, palette=[list(colour) for colour in PALETTE], twins=TWINS)

    def __init__(
        self, split: str = 'train', num_scenes: int = 200, seed: int = 0, **kwargs
    ) -> None:
        if split not in SPLITS:
            raise UserError(
                f'split={split!r} came; ContextScenesDataset has the splits {", ".join(SPLITS)}.'
            )
        if num_scenes < 1:
            raise UserError(
                f'num_scenes={num_scenes} came; ContextScenesDataset needs at least one scene.'
            )
        if seed < 0:
            raise UserError(f'seed={seed} came; ContextScenesDataset needs a seed of 0 or more.')
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
