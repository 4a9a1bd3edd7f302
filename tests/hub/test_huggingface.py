"""Networks in folders and on the hub: what is published comes back, and nothing in it runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hub_server import TOKEN, Hub, serve
from mmseg.apis import inference_model
from mmseg.registry import MODELS
from tiny_setup import MSRC21

from mmseg_encnet import EncNet, get_encnet
from mmseg_encnet.errors import UserError
from mmseg_encnet.hub import from_pretrained, push_folder, push_to_hub, save_pretrained
from mmseg_encnet.predicting import load_segmentor

pytest.importorskip('safetensors')
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture
def segmentor(tiny_config, tmp_path):
    """Return the segmentor of a tiny training: random weights, with a photograph data set."""
    cfg = tiny_config()
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'tiny.pth')
    return load_segmentor(cfg, str(tmp_path / 'tiny.pth'), 'cpu')


@pytest.fixture
def folder(segmentor, tmp_path) -> Path:
    """Return the folder of the tiny network."""
    save_pretrained(segmentor.model, tmp_path / 'saved')
    return tmp_path / 'saved'


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Hub:
    pytest.importorskip('huggingface_hub')
    # The client reads its environment when it is imported.
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr('huggingface_hub.constants.HF_TOKEN_PATH', str(tmp_path / 'token'))
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS', True)
    # The server speaks the protocol of Git LFS, not that of Xet's storage.
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_DISABLE_XET', True)
    monkeypatch.setattr('time.sleep', lambda _: None)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    with serve() as server:
        yield server


def same(one, other) -> bool:
    return torch.equal(one.pred_sem_seg.data, other.pred_sem_seg.data) and torch.equal(
        one.presence, other.presence
    )


def test_a_saved_network_predicts_the_same(segmentor, folder):
    assert {path.name for path in folder.iterdir()} == {
        'config.json',
        'model.safetensors',
        'README.md',
    }
    loaded = from_pretrained(folder, device='cpu')
    assert same(loaded.predict(IMAGE), segmentor.predict(IMAGE))
    assert loaded.classes == list(segmentor.classes)
    assert [list(colour) for colour in loaded.palette] == [list(c) for c in segmentor.palette]
    text = (folder / 'config.json').read_text()
    assert str(folder.parents[1]) not in text
    assert str(Path.home()) not in text
    # The card of the first time is kept, a second save is the same.
    (folder / 'README.md').write_text('mine')
    before = (folder / 'config.json').read_bytes()
    save_pretrained(loaded.model, folder)
    assert (folder / 'README.md').read_text() == 'mine'
    assert (
        json.loads(before)['weights'] == json.loads((folder / 'config.json').read_text())['weights']
    )


def test_encnet_comes_back_as_encnet(tmp_path):
    torch.manual_seed(0)
    model = get_encnet(
        'camvid', 'lite0', crop_size=96, base_size=128, decode_head=dict(channels=16)
    )
    model.crop_size = 64
    model.eval().save_pretrained(tmp_path / 'saved')
    loaded = EncNet.from_pretrained(tmp_path / 'saved')
    assert isinstance(loaded, EncNet)
    assert (loaded.base_size, loaded.crop_size, loaded.nclass) == (128, 64, model.nclass)
    assert loaded.mean == pytest.approx(model.mean)
    assert loaded.std == pytest.approx(model.std)
    with torch.no_grad():
        image = torch.rand(1, 3, 64, 96)
        for found, expected in zip(loaded(image), model(image)):
            assert torch.equal(found, expected)
    assert same(inference_model(loaded, IMAGE), inference_model(model, IMAGE))
    # As a runner does with a given model.
    loaded.init_weights()
    assert torch.equal(loaded.head.conv_seg.weight, model.head.conv_seg.weight)


def test_push_and_pull(segmentor, hub, tmp_path):
    options = dict(endpoint=hub.address, token=TOKEN)
    url = push_to_hub(segmentor.model, 'me/tiny', **options)
    assert url.startswith(f'{hub.address}/me/tiny/commit/')
    files = hub.files('me/tiny')
    assert files.keys() == {'config.json', 'model.safetensors', 'README.md'}
    assert not any(name.endswith(('.py', '.pth', '.pkl')) for name in files)

    loaded = from_pretrained('me/tiny', endpoint=hub.address, device='cpu')
    assert same(loaded.predict(IMAGE), segmentor.predict(IMAGE))
    asked = [path for method, path in hub.requests if method == 'GET']
    assert {path.rpartition('/')[2] for path in asked} == {'config.json', 'model.safetensors'}

    # The weights belong to the commit of the config, even if the branch has moved on.
    first = hub.commit_id('me/tiny', 1)
    with torch.no_grad():
        segmentor.model.decode_head.conv_seg.bias[3] += 100
    push_to_hub(segmentor.model, 'me/tiny', **options)
    moved = from_pretrained('me/tiny', endpoint=hub.address, device='cpu')
    assert (moved.predict(IMAGE).pred_sem_seg.data == 3).all()
    pinned = from_pretrained('me/tiny', endpoint=hub.address, revision=first, device='cpu')
    assert same(pinned.predict(IMAGE), loaded.predict(IMAGE))


def test_offline_with_a_warm_cache(folder, hub, monkeypatch):
    push_folder(folder, 'me/tiny', endpoint=hub.address, token=TOKEN)
    from_pretrained('me/tiny', endpoint=hub.address, device='cpu')
    count = len(hub.requests)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    from_pretrained('me/tiny', endpoint=hub.address, device='cpu')
    with pytest.raises(UserError, match='not in the cache'):
        from_pretrained('me/other', endpoint=hub.address)
    assert len(hub.requests) == count
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', False)
    # Without a connection, and while the hub fails.
    from_pretrained('me/tiny', endpoint='http://127.0.0.1:9', device='cpu')
    hub.status['config.json'] = 500
    from_pretrained('me/tiny', endpoint=hub.address, device='cpu')


@pytest.mark.parametrize(
    'status, words',
    [
        (401, ['401', 'hf auth login']),
        (403, ['403', 'permission']),
        (404, ['404', 'check its name']),
        (429, ['429', 'wait and try again']),
        (500, ['500', 'try again later']),
        (503, ['503', 'try again later']),
    ],
)
@pytest.mark.parametrize('file', ['config.json', 'model.safetensors'])
def test_a_failed_download_is_one_sentence(status, words, file, folder, hub):
    hub.commits['me/tiny'] = [{path.name: path.read_bytes() for path in folder.iterdir()}]
    hub.status[file] = status
    with pytest.raises(UserError) as caught:
        from_pretrained('me/tiny', endpoint=hub.address)
    sentence = str(caught.value)
    assert sentence.startswith('repository me/tiny cannot be loaded: ')
    assert '\n' not in sentence
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    'path, status, words',
    [
        ('/api/repos/create', 403, ['403', 'permission']),
        ('/api/models/me/tiny/preupload/main', 500, ['500', 'try again later']),
        ('/me/tiny.git/info/lfs/objects/batch', 429, ['429', 'wait']),
        ('/api/models/me/tiny/commit/main', 503, ['503', 'try again later']),
    ],
)
def test_a_failed_upload_is_one_sentence(path, status, words, folder, hub):
    hub.status[path] = status
    with pytest.raises(UserError) as caught:
        push_folder(folder, 'me/tiny', endpoint=hub.address, token=TOKEN)
    sentence = str(caught.value)
    assert sentence.startswith('repository me/tiny cannot be written: ')
    assert all(word in sentence for word in words), sentence
    assert not hub.commits.get('me/tiny', [{}])[-1]


def test_an_interrupted_download_is_one_sentence_and_continues(segmentor, folder, hub):
    hub.commits['me/tiny'] = [{path.name: path.read_bytes() for path in folder.iterdir()}]
    hub.cut.add('model.safetensors')
    with pytest.raises(UserError, match='cannot be loaded: the connection failed'):
        from_pretrained('me/tiny', endpoint=hub.address)
    hub.cut.clear()
    loaded = from_pretrained('me/tiny', endpoint=hub.address, device='cpu')
    assert same(loaded.predict(IMAGE), segmentor.predict(IMAGE))


def test_repositories_that_cannot_be_used(folder, hub, tmp_path):
    hub.commits['me/empty'] = [{}]
    hub.commits['me/tiny'] = [{path.name: path.read_bytes() for path in folder.iterdir()}]
    hub.private.add('me/tiny')
    address = dict(endpoint=hub.address)
    for call, words in (
        (lambda: from_pretrained('me/none', **address), 'does not exist, or is private'),
        (lambda: from_pretrained('me/tiny', **address), 'does not exist, or is private'),
        (lambda: from_pretrained('me/empty', **address), 'has no config.json or model.safetensors'),
        (
            lambda: from_pretrained('me/tiny', revision='v9', token=TOKEN, **address),
            'check its name and revision',
        ),
        (lambda: from_pretrained('a/b/c'), 'neither a folder nor the name of a repository'),
        (lambda: from_pretrained(tmp_path / 'none'), 'neither a folder'),
        (lambda: from_pretrained('me/new', endpoint='http://127.0.0.1:9'), 'connection failed'),
        (lambda: push_folder(folder, 'me/tiny', token='hf_wrong', **address), 'log in with'),
        (lambda: push_folder(folder, 'a b', **address), "got the repository 'a b'"),
        (lambda: push_folder(tmp_path, 'me/x', token=TOKEN, **address), 'has no config.json'),
    ):
        with pytest.raises(UserError, match=words) as caught:
            call()
        assert '\n' not in str(caught.value)
    assert from_pretrained('me/tiny', token=TOKEN, device='cpu', **address)


def changed(folder: Path, change) -> Path:
    content = json.loads((folder / 'config.json').read_text())
    change(content)
    (folder / 'config.json').write_text(json.dumps(content))
    return folder


def at(path: str, value: object):
    """Return a function that sets an entry of nested dictionaries."""

    def change(content: dict) -> None:
        *outer, last = path.split('.')
        for key in outer:
            content = content[int(key) if isinstance(content, list) else key]
        content[last] = value

    return change


STEP = 'config.test_dataloader.dataset.pipeline.0'


@pytest.mark.parametrize(
    'path, value, words',
    [
        ('config.custom_imports', dict(imports=['evil']), 'custom_imports names code to import'),
        ('config.model.type', 'os.system', "model.type='os.system' is not a class"),
        ('config.model.backbone.type', 'subprocess.Popen', 'is not a class'),
        ('config.model.decode_head.norm_cfg', dict(type='os.system'), 'is not a class'),
        ('config.model.decode_head.sampler', dict(type=['x']), 'is not a class'),
        (STEP + '.type', 'torch.load', 'is not a class'),
        (STEP + '.type', 'mmdet.LoadImageFromFile', 'is not a class'),
        (STEP + '.resize_type', 'os.system', 'is not a class'),
        ('config.optim_wrapper', dict(type='builtins.exec'), 'is not a class'),
        ('config.model.backbone._scope_', 'mmdet', 'names code to import'),
        ('config.model.backbone.init_cfg', dict(type='Pretrained', checkpoint='x'), 'other files'),
        ('config.model.pretrained', 'torchvision://resnet50', 'other files'),
        ('config.model.backbone.trust_remote_code', True, 'other files'),
        ('config.model', None, 'no model'),
        ('config.test_dataloader', None, 'no pipeline'),
        ('config.model.backbone.deep', json.loads('[' * 80 + ']' * 80), 'levels deep'),
        ('classes', ['a', 'b'], 'names 2 classes, but its model has 21'),
        ('classes', 'abc', 'not a list of different names'),
        ('palette', [[1, 2, 300]], 'not a list of RGB colours'),
        ('palette', [[1, 2, 3]], '1 colours for 21 classes'),
        ('weights', dict(file='../../x'), 'expected file'),
        ('tuples', 3, 'not a list of paths'),
        ('format', 2, 'has format 2, expected 1'),
        ('library_name', 'transformers', "is of 'transformers'"),
        ('config.model.decode_head.channels', 24, 'decode_head'),
        ('config.model.decode_head.num_codes', -1, 'num_codes'),
    ],
    ids=str,
)
def test_a_config_with_more_than_plain_data_is_refused(path, value, words, folder, tmp_path):
    with pytest.raises(UserError) as caught:
        from_pretrained(changed(folder, at(path, value)), device='cpu')
    sentence = str(caught.value)
    assert words in sentence, sentence
    assert '\n' not in sentence


@pytest.mark.parametrize(
    'damage, words',
    [
        (lambda path: (path / 'config.json').unlink(), 'has no config.json'),
        (lambda path: (path / 'model.safetensors').unlink(), 'has no model.safetensors'),
        (lambda path: (path / 'config.json').write_text('{"a": '), 'cannot be read as JSON'),
        (lambda path: (path / 'config.json').write_text('[' * 9999), 'cannot be read as JSON'),
        (lambda path: (path / 'config.json').write_text('[]'), 'is not one of'),
        (
            lambda path: (path / 'model.safetensors').write_bytes(
                (path / 'model.safetensors').read_bytes()[:-8]
            ),
            r'has \d+ bytes, expected \d+',
        ),
        (
            lambda path: (path / 'model.safetensors').write_bytes(
                bytes([*(path / 'model.safetensors').read_bytes()[:-1], 7])
            ),
            'does not match the checksum',
        ),
    ],
)
def test_an_incomplete_folder(damage, words, folder):
    damage(folder)
    with pytest.raises(UserError, match=words):
        from_pretrained(folder)


def test_what_cannot_be_saved(segmentor, tmp_path):
    model = segmentor.model
    with pytest.raises(UserError, match='which is a file'):
        save_pretrained(model, MSRC21)
    with pytest.raises(UserError, match='no cfg or no dataset_meta'):
        save_pretrained(MODELS.build(model.cfg.model), tmp_path / 'none')
    model.cfg.model.decode_head.loss_decode.note = torch.zeros(1)
    with pytest.raises(UserError, match=r'note of the config is a Tensor'):
        save_pretrained(model, tmp_path / 'none')
    del model.cfg.model.decode_head.loss_decode['note']
    model.decode_head.conv_seg.bias.data[0] = float('nan')
    with pytest.raises(UserError, match='NaN'):
        save_pretrained(model, tmp_path / 'none')


def test_the_card_has_the_header_of_the_hub(folder):
    cards = pytest.importorskip('huggingface_hub')
    text = (folder / 'README.md').read_text()
    header = yaml.safe_load(text.split('---')[1])
    assert header['library_name'] == 'mmsegmentation-encnet'
    assert header['pipeline_tag'] == 'image-segmentation'
    card = cards.ModelCard(text)
    assert card.data.license == 'other'
    for heading in ('## Network', '## Limits', '## Use'):
        assert heading in text


def test_the_folder_moves(folder, tmp_path):
    shutil.move(folder, tmp_path / 'elsewhere')
    assert from_pretrained(tmp_path / 'elsewhere', device='cpu')
