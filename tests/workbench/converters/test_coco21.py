"""Labels of VOC's classes from COCO's instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import imitations
import pytest

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters import coco21, command


def test_lists_leave_out_images_with_few_labelled_pixels(tmp_path, capsys):
    imitations.coco21().write(tmp_path)
    command.run(coco21.CONVERTER, [str(tmp_path / 'out'), '--from', str(tmp_path), '--jobs', '1'])
    lists = {
        split: (tmp_path / 'out' / 'voc21' / f'{split}.txt').read_text().split()
        for split in coco21.SPLITS
    }
    assert lists == {'train2017': ['000000000009', '000000000025'], 'val2017': ['000000000036']}
    assert '2 of 4 images have more than 1,000 labelled pixels' in capsys.readouterr().out


def mask(segmentation: Any) -> Callable[[dict], None]:
    def change(annotation: dict) -> None:
        annotation['segmentation'] = segmentation

    return change


def put(key: str, value: Any) -> Callable[[dict], None]:
    return lambda annotation: annotation.update({key: value})


@pytest.mark.parametrize(
    'change, named',
    [
        (mask([]), 'expected polygons or run lengths'),
        (mask(None), 'expected polygons or run lengths'),
        (mask('abc'), 'expected polygons or run lengths'),
        (mask([[1.0, 2.0, 3.0, 4.0]]), 'three corners'),
        (mask([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]]), 'three corners'),
        (mask([[1e30, 2.0, 3.0, 4.0, 5.0, 6.0]]), 'outside the image'),
        (mask([[float('nan')] * 6]), 'outside the image'),
        (mask({'size': [40, 50], 'counts': [2000]}), '50 x 40 pixels'),
        (mask({'size': [50, 40], 'counts': [1, 2]}), '2000'),
        (mask({'size': [50, 40], 'counts': [-1, 2001]}), 'expected polygons or run lengths'),
        (mask({'size': [50, 40]}), 'counts'),
        (put('image_id', 8), '8'),
        (lambda annotation: annotation.pop('image_id'), 'image_id'),
        (put('category_id', 12), '12'),
    ],
)
def test_strange_annotation(change, named, tmp_path):
    imitation = imitations.coco21()
    annotation = imitations.instance(77, 7, 18, [imitations.rectangle(1, 1, 9, 9)])
    change(annotation)
    imitation.archives['annotations_trainval2017.zip']['annotations/instances_val2017.json'] = (
        imitations.instances({7: (50, 40)}, [annotation])
    )
    imitation.archives['val2017.zip'] = {
        'val2017/000000000007.jpg': imitations.photograph((50, 40))
    }
    imitation.write(tmp_path)
    with pytest.raises(UserError, match=named):
        command.run(
            coco21.CONVERTER, [str(tmp_path / 'out'), '--from', str(tmp_path), '--jobs', '1']
        )
