"""Own TIFF images of several bands stay as they are, and get configs for all of their bands."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from multispectral_files import draw_fields, write_bands

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.datasets.checked import build_checked_dataset
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.own.conversion import convert_own
from mmseg_encnet.workbench.converters.own.options import Reading


@pytest.mark.parametrize('bands, planar', [(1, False), (3, False), (4, True), (6, False)])
def test_bands(tmp_path, bands, planar):
    images = draw_fields(tmp_path / 'src', bands, planar)
    converted = convert_own(tmp_path / 'src', tmp_path / 'out', Reading(jobs=1))
    assert converted.suffix == '.tif'
    for path in (tmp_path / 'out' / 'images').rglob('*.tif'):
        assert path.read_bytes() == (tmp_path / 'src' / 'images' / path.name).read_bytes()
    for name in converted.configs:
        cfg = load_config(str(tmp_path / 'out' / name))
        assert cfg.model.backbone.in_channels == bands
        assert len(cfg.model.data_preprocessor.mean) == bands
        hooks = [hook['type'] for hook in cfg.custom_hooks or []] if 'custom_hooks' in cfg else []
        assert ('WidenInputHook' in hooks) == (bands != 3)
    dataset = build_checked_dataset(cfg.train_dataloader.dataset)
    assert dataset[0]['inputs'].shape[0] == bands
    assert np.isin(images.max(), dataset[0]['inputs'].numpy()) or images.max() > 255


def test_different_bands_are_refused(tmp_path):
    draw_fields(tmp_path / 'src')
    other = tmp_path / 'src' / 'images' / 'field_3.tif'
    write_bands(other, np.zeros((48, 56, 4), np.float32))
    with pytest.raises(UserError, match=r'channels of float32, but .* has 4 channels of uint16'):
        convert_own(tmp_path / 'src', tmp_path / 'out', Reading(jobs=1))
    assert not (tmp_path / 'out').exists()


def test_photographs_in_tiff_files_stay_photographs(tmp_path):
    draw_fields(tmp_path / 'src')
    for path in (tmp_path / 'src' / 'images').iterdir():
        tifffile.imwrite(path, np.zeros((48, 56, 3), np.uint8), photometric='rgb')
    converted = convert_own(tmp_path / 'src', tmp_path / 'out', Reading(jobs=1))
    assert 'LoadImageFromTIFF' not in (tmp_path / 'out' / 'dataset.py').read_text()
    assert len(converted.configs) == 2
