"""Addresses of the toolbox's weights, downloaded from a local server instead of the two hosts."""

from __future__ import annotations

import functools
import http.server
import io
import threading

import pytest
import torch
from mmengine.runner import CheckpointLoader

import mmseg_encnet  # noqa: F401  (registers the hosts)
from mmseg_encnet.checkpoints import toolbox_hosts
from mmseg_encnet.checkpoints.downloads import DownloadError

NAME = 'mmsegmentation/v0.5/encnet/encnet-b2db95e0.pth'


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """Serve two hosts from one server, each a folder with its own address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    listener = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
    urls = tuple(f'http://127.0.0.1:{listener.server_address[1]}/{name}/' for name in 'ab')
    monkeypatch.setattr(toolbox_hosts, 'HOSTS', urls)
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    CheckpointLoader.register_scheme(prefixes=urls, loader=toolbox_hosts.load_from_toolbox_host)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    yield [(url, tmp_path / name / NAME) for url, name in zip(urls, 'ab')]
    listener.shutdown()
    listener.server_close()


def checkpoint(**options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(state_dict=dict(weight=torch.ones(2))), buffer, **options)
    return buffer.getvalue()


def test_both_hosts_are_known_to_the_toolbox():
    url = f'https://mmassets.onedl.ai/{NAME}'
    other = f'https://download.openmmlab.com/{NAME}'
    assert toolbox_hosts.addresses(url) == (url, other)
    assert toolbox_hosts.addresses(other) == (other, url)
    for address in (url, other):
        loader = CheckpointLoader._get_checkpoint_loader(address)
        assert loader is toolbox_hosts.load_from_toolbox_host
    assert CheckpointLoader._get_checkpoint_loader('https://example.org/x.pth') is not loader


@pytest.mark.parametrize('new_format', [True, False])
@pytest.mark.parametrize('named, serving', [(0, 0), (0, 1), (1, 0)])
def test_either_host_serves_the_other_host_s_address(named, serving, new_format, hosts, tmp_path):
    _, file = hosts[serving]
    file.parent.mkdir(parents=True)
    file.write_bytes(checkpoint(_use_new_zipfile_serialization=new_format))
    url = hosts[named][0] + NAME
    loaded = CheckpointLoader.load_checkpoint(url, map_location='cpu')
    assert torch.equal(loaded['state_dict']['weight'], torch.ones(2))
    # The second time it is read from the cache that mmengine uses too.
    file.unlink()
    assert CheckpointLoader.load_checkpoint(url).keys() == loaded.keys()
    cached = tmp_path / 'torch' / 'hub' / 'checkpoints'
    assert [path.name for path in cached.iterdir()] == ['encnet-b2db95e0.pth']


def test_all_addresses_and_their_errors_are_listed(hosts):
    (first, file), (second, _) = hosts
    file.parent.mkdir(parents=True)
    # A parked domain answers with a page.
    file.write_bytes(b'<html>for sale</html>')
    with pytest.raises(DownloadError) as caught:
        CheckpointLoader.load_checkpoint(first + NAME)
    message = str(caught.value)
    assert f'({first}{NAME}: the file is not a checkpoint; {second}{NAME}: HTTP status 404)' in (
        message
    )
    assert message.endswith('/hub/checkpoints/encnet-b2db95e0.pth')
