"""Checkpoints given by their address, downloaded from a local server."""

from __future__ import annotations

import functools
import http.server
import threading

import pytest
import torch
from mmseg.registry import MODELS
from pickled_code import Payload
from PIL import Image
from tiny_setup import MSRC21

from mmseg_encnet.configuration.loading import load_config

INFER = ('image.png', '--out-dir', 'out')


@pytest.fixture
def address(tmp_path, tiny_options, monkeypatch) -> str:
    """Serve weights of the shrunk network as ``a/latest.pth`` and other files beside them."""
    (tmp_path / 'a').mkdir()
    model = MODELS.build(load_config(str(MSRC21), tiny_options).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a' / 'latest.pth')
    (tmp_path / 'b').mkdir()
    torch.save(dict(state_dict={}, code=Payload(tmp_path / 'ran')), tmp_path / 'b' / 'latest.pth')
    (tmp_path / 'page.pth').write_text('<html>moved</html>')
    Image.new('RGB', (40, 30)).save(tmp_path / 'image.png')
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    listener = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    yield f'http://127.0.0.1:{listener.server_address[1]}'
    listener.shutdown()
    listener.server_close()


@pytest.mark.parametrize(
    'tool, rest',
    [
        ('test', ()),
        ('test', ('--tta',)),
        ('infer', INFER),
        ('model_converters/export', ('model.torchscript', '--size', '64', '64')),
    ],
    ids=['test', 'tta', 'infer', 'export'],
)
def test_tools_accept_an_address(tool, rest, address, run_tool, tiny_options, tmp_path):
    result = run_tool(tool, MSRC21, f'{address}/a/latest.pth', *rest, options=tiny_options)
    assert result.status == 0, result.err
    (kept,) = (tmp_path / 'torch' / 'hub' / 'checkpoints').iterdir()
    assert kept.name.endswith('-latest.pth')


def test_training_starts_from_an_address(address, run_tool, tiny_options):
    options = dict(tiny_options, load_from=f'{address}/a/latest.pth')
    assert run_tool('train', MSRC21, options=options).status == 0


def test_conversion_of_an_address(address, run_tool):
    sentence = run_tool('model_converters/convert', f'{address}/a/latest.pth', 'out.pth')
    assert sentence.status == 0, sentence.err


@pytest.mark.parametrize('tool, rest', [('test', ()), ('infer', INFER)], ids=['test', 'infer'])
@pytest.mark.parametrize(
    'path, words',
    [
        ('missing.pth', ['HTTP status 404']),
        ('page.pth', ['is not a checkpoint']),
        ('b/latest.pth', ['could run code']),
    ],
)
def test_addresses_that_do_not_serve_a_checkpoint(
    path, words, tool, rest, address, run_tool, tiny_options, tmp_path
):
    result = run_tool(tool, MSRC21, f'{address}/{path}', *rest, options=tiny_options)
    assert all(word in result.sentence for word in words), result.sentence
    assert not (tmp_path / 'ran').exists()
