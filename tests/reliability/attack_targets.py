"""Everything that reads what strangers write: files, and requests to the server of the demo page.

Each target is a table entry: valid inputs to start from, and a reader that is what the tools call.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import own_formats
import torch
from PIL import Image
from test_fuzz_files import COCO, PASCAL
from test_malformed_files import (
    CACHE,
    FORMATS,
    LOG,
    RECORD,
    as_json,
    checkpoint,
    lines,
    packed_header,
    saved,
    zipped,
)

from mmseg_encnet.checkpoints.files import read_checkpoint
from mmseg_encnet.checkpoints.tensor_files import write_tensor_checkpoint
from mmseg_encnet.datasets.image_sizes import stored_size
from mmseg_encnet.datasets.orientation import exif_orientation
from mmseg_encnet.errors import UserError
from mmseg_encnet.exporting import read_description
from mmseg_encnet.exporting.description import as_strings
from mmseg_encnet.hub.pretrained import read_folder
from mmseg_encnet.workbench.converters.matlab import read_mat
from mmseg_encnet.workbench.converters.own.classes import read_table
from mmseg_encnet.workbench.converters.own.conversion import _open
from mmseg_encnet.workbench.converters.own.formats import read_source
from mmseg_encnet.workbench.converters.own.images import read_header
from mmseg_encnet.workbench.converters.own.options import Reading
from mmseg_encnet.workbench.converters.own.problems import FileProblem
from mmseg_encnet.workbench.converters.own.splits import by_lists, given_lists
from mmseg_encnet.workbench.demo_page.gate import _UPLOAD_PATH, Gate
from mmseg_encnet.workbench.demo_page.uploads import Uploads


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        name: What it reads.
        seeds: Valid inputs.
        read: Function of a path with the content, and of nothing else.
        file: Name of the file.
        share: Inputs in comparison to the other targets; slow readers get fewer.
        documented: The errors that it may raise.
        contents: Valid contents, if the format holds nested plain data.
        encode: Function from such a content to an input.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], Any]
    file: str
    share: float = 1.0
    documented: tuple[type[Exception], ...] = (UserError,)
    contents: tuple[Any, ...] = ()
    encode: Callable[[Any], bytes] | None = None


def of_format(name: str, label: str, share: float = 1.0, *contents: Any, **more: Any) -> Target:
    """Return the target of a format of ``test_malformed_files``."""
    form = FORMATS[name]

    def seeds() -> list[bytes]:
        # Of the malformed files, few: the mutations find others.
        return [form.whole(), *[make() for make in list(form.changed.values())[:6]]]

    return Target(label, seeds, form.read, form.name, share, contents=contents, **more)


def own_folder(kind: str, suffix: str) -> tuple[Callable[[], list[bytes]], Callable, str]:
    """Return seeds, reader and file name of an annotation file in a folder with its images."""

    @cache
    def template() -> tuple[dict[str, bytes], str]:
        with tempfile.TemporaryDirectory() as folder:
            own_formats.WRITERS[kind](Path(folder), own_formats.draw_set(2))
            files = {
                str(path.relative_to(folder)): path.read_bytes()
                for path in sorted(Path(folder).rglob('*'))
                if path.is_file()
            }
        name = next(name for name in files if name.endswith(suffix))
        return files, name

    def read(path: Path) -> Any:
        files, name = template()
        root = path.parent / kind
        if not root.exists():
            for other, content in files.items():
                (root / other).parent.mkdir(parents=True, exist_ok=True)
                (root / other).write_bytes(content)
        shutil.copyfile(path, root / name)
        found = read_source(_open(root, Reading(jobs=1)))
        for example in found.examples:
            read_header(example.image)
            found.draw(example.label)
        return found

    return lambda: [template()[0][template()[1]]], read, f'a{suffix}'


def own(kind: str, suffix: str, label: str, share: float = 1.0) -> Target:
    seeds, read, file = own_folder(kind, suffix)
    contents = (json.loads(seeds()[0]),) if suffix == '.json' else ()
    return Target(
        label, seeds, read, file, share, (UserError, FileProblem), contents,
        as_json if contents else None,
    )  # fmt: skip


def image_files() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    found = []
    for kind in ('PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM', 'TGA', 'ICO', 'PCX', 'SGI'):
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        options = dict(exif=exif) if kind in ('PNG', 'JPEG', 'WEBP', 'TIFF') else {}
        Image.fromarray(pixels).save(buffer, kind, **options)
        found.append(buffer.getvalue())
    array = io.BytesIO()
    np.save(array, pixels)
    return [
        *found,
        array.getvalue(),
        b'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 9 +X 7\n' + bytes(60),
        b'P7\nWIDTH 7\nHEIGHT 9\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n' + bytes(189),
    ]


def read_headers(path: Path) -> Any:
    size = stored_size(path)
    exif_orientation(str(path))
    return size or 'unknown'


TABLES = (
    b'name,value,r,g,b\nsky,0,1,2,3\nroad,1,4,5,6\n',
    b'Pixel Value, Class\n0, sky\n1, road\n',
    b'# label:color_rgb:parts:actions\nsky:1,2,3::\nroad:4,5,6::\n',
    b'0 0 0\t\tsky\n128 0 0\t\troad\n',
    b'sky #010203\nroad #ff0000\n',
    b'sky\nroad\n',
    b'0: sky\n1: road\n',
)
TABLE_CONTENTS = (
    ['sky', 'road'],
    {'sky': [1, 2, 3], 'road': '#ff0000'},
    {'0': 'sky', '1': 'road'},
    dict(classes=[dict(title='sky', color='#010203', id=3), dict(title='road', color='#ff0000')]),
)


@cache
def description() -> dict[str, Any]:
    return dict(encnet_description=1, classes=['a', 'b'], mean=[1.0, 2.0], sizes=dict(fixed=[9, 9]))


def exported_archive(content: Any) -> bytes:
    return zipped({'net/mmseg_encnet.json': json.dumps(content).encode(), 'net/version': b'3'})


def onnx_file(content: Any) -> bytes:
    import onnx

    model = onnx.ModelProto(ir_version=8)
    for key, value in as_strings(content if isinstance(content, dict) else {'a': content}).items():
        model.metadata_props.add(key=str(key), value=value)
    return model.SerializeToString()


@cache
def hub_content() -> dict[str, Any]:
    weights = b'weights'
    config = dict(
        model=dict(type='EncoderDecoder', decode_head=dict(type='EncodingHead', num_classes=2)),
        test_dataloader=dict(
            dataset=dict(type='BaseSegDataset', pipeline=[dict(type='LoadImageFromFile')])
        ),
    )
    return dict(
        library_name='mmsegmentation-encnet', format=1, mmseg_encnet='0.1', classes=['a', 'b'],
        palette=[[1, 2, 3], [4, 5, 6]], config=config, tuples=['model'],
        weights=dict(
            file='model.safetensors', size=len(weights),
            sha256=hashlib.sha256(weights).hexdigest(),
        ),
    )  # fmt: skip


def read_hub_folder(path: Path) -> Any:
    (path.parent / 'model.safetensors').write_bytes(b'weights')
    return read_folder(path.parent)


def read_lists(path: Path) -> Any:
    other = path.with_name('val.txt')
    other.write_text('b\n')
    images = {name: path.parent / f'{name}.jpg' for name in 'abc'}
    return by_lists(given_lists([path, other]), images, [], path.parent)


def matlab_file() -> bytes:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, dict(S=np.eye(4, dtype=np.uint8), names=np.array(['a', 'bc'], object)))
    return buffer.getvalue()


@cache
def tensor_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'a.safetensors')
        meta = dict(dataset_meta=dict(classes=['a', 'b'], palette=[[0, 0, 0], [1, 1, 1]]))
        write_tensor_checkpoint(path, dict(state_dict=dict(w=torch.ones(2)), meta=meta))
        return path.read_bytes()


def tensor_file_with(header: Any) -> bytes:
    whole = tensor_file()
    size = int.from_bytes(whole[:8], 'little')
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, 'little') + text + whole[8 + size :]


def tensor_header() -> Any:
    whole = tensor_file()
    return json.loads(whole[8 : 8 + int.from_bytes(whole[:8], 'little')])


def packed_with(header: Any) -> bytes:
    return packed_header(lambda _: header)


@cache
def packed_facts() -> Any:
    facts: list[Any] = []
    packed_header(lambda header: facts.append(header) or header)
    return facts[0]


REQUESTS = (
    b'GET / HTTP/1.1\r\nhost: localhost\r\n\r\n',
    b'POST /gradio_api/queue/join HTTP/1.1\r\nhost: 127.0.0.1:7860\r\norigin: '
    b'http://127.0.0.1:7860\r\ncontent-length: 40\r\n\r\n'
    b'{"data": [{"path": "/etc/passwd"}, 0]}  ',
    b'POST /gradio_api/upload HTTP/1.1\r\nhost: [::1]:80\r\ncontent-type: multipart/form-data; '
    b'boundary=x\r\ncontent-length: 9\r\nsec-fetch-site: same-origin\r\n\r\n--x\r\n\r\n--x--',
    b'GET / HTTP/1.1\r\nhost: evil.example\r\nsec-fetch-site: cross-site\r\n\r\n',
    b'GET /gradio_api/file=/etc/passwd HTTP/1.1\r\nhost: localhost.\r\norigin: null\r\n\r\n',
)
STATUSES = {200, 400, 403, 408, 413, 421, 503}


def request_of(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the ASGI scope and the body of a request, which need not be a valid one."""
    head, _, body = content.partition(b'\r\n\r\n')
    first, *rest = head.split(b'\r\n')
    method, path, *_ = [*first.decode('latin-1').split(' '), '', '']
    headers = [line.partition(b':')[::2] for line in rest]
    return dict(
        type='http', method=method, path=path,
        headers=[(name.lower(), value.strip()) for name, value in headers],
    ), body  # fmt: skip


def ask_gate(path: Path) -> int:
    """Send a request to the gate, in front of a page that answers everything."""
    scope, body = request_of(path.read_bytes())
    folder = path.parent / 'uploads'
    folder.mkdir(exist_ok=True)
    uploads, answers = Uploads(folder), []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        answers.append('page')
        await receive()
        name = scope['path']
        content = b'["a.png"]' if name == _UPLOAD_PATH else b'page'
        headers = [(b'access-control-allow-origin', b'*')]
        await send(dict(type='http.response.start', status=200, headers=headers))
        await send(dict(type='http.response.body', body=content))

    sent: list[Mapping[str, Any]] = []

    async def ask() -> None:
        messages = [dict(type='http.request', body=body, more_body=False)]

        async def receive() -> Any:
            return messages.pop() if messages else dict(type='http.disconnect')

        async def send(message: Any) -> None:
            sent.append(message)

        await Gate(page, uploads, '127.0.0.1')(scope, receive, send)

    asyncio.run(ask())
    status = sent[0]['status']
    names = [name for name, _ in sent[0]['headers']]
    assert status in STATUSES, status
    assert not any(name.startswith(b'access-control') for name in names), names
    hosts = [value for name, value in scope['headers'] if name == b'host']
    if answers:
        assert len(hosts) == 1, hosts
        name = hosts[0].decode('latin-1').lower()
        assert 'localhost' in name or '127.0.0.1' in name or ':' in name, name
    else:
        text = sent[1]['body'].decode()
        assert '\n' not in text and len(text) <= 300, text
    return status


def targets() -> dict[str, Target]:
    """Return the targets by name; drawing their seeds is left to them."""
    found = [
        of_format('checkpoint', 'checkpoints (.pth)', 2, checkpoint(), encode=saved),
        Target(
            'checkpoints (.safetensors)', lambda: [tensor_file()], read_checkpoint,
            'a.safetensors', 2, contents=(tensor_header(),), encode=tensor_file_with,
        ),
        of_format('shipped network', 'shipped networks', 0.5, packed_facts(), encode=packed_with),
        of_format('training log', 'training logs', 2, LOG, encode=lines),
        of_format('study record', 'study records', 2, RECORD, encode=as_json),
        of_format('cached evaluation', 'cached evaluations', 1, CACHE, encode=as_json),
        of_format('COCO', 'COCO annotations (published)', 1.5, COCO, encode=as_json),
        of_format('Pascal Context', 'Pascal Context annotations', 1.5, PASCAL, encode=as_json),
        own('coco', '.json', 'COCO annotations (own data)'),
        own('labelme', '.json', 'LabelMe annotations'),
        own('cvat_xml', '.xml', 'CVAT annotations'),
        own('index_png', '.png', 'label images (own data)', 0.7),
        own('palette_png', '.png', 'label images with palettes (own data)', 0.5),
        of_format('label', 'label images (training)', 0.7),
        of_format('image', 'images (training)', 0.7),
        Target('image headers', image_files, read_headers, 'a.img', 4),
        of_format('zip archive', 'zip archives', 1.5),
        of_format('tar archive', 'tar archives', 1.5),
        Target(
            'colour tables and class lists', lambda: list(TABLES), read_table, 'colours.csv', 3
        ),
        Target('lists of images', lambda: [b'a\nc\n', b'x/a.jpg c.png\n'], read_lists, 'train.txt'),
        Target('MATLAB files', lambda: [matlab_file()], read_mat, 'a.mat'),
        Target(
            'colour tables (.json)', lambda: [*map(as_json, TABLE_CONTENTS)], read_table,
            'colours.json', 2, contents=TABLE_CONTENTS, encode=as_json,
        ),
        Target(
            'folders of networks', lambda: [as_json(hub_content())], read_hub_folder,
            'config.json', 2, contents=(hub_content(),), encode=as_json,
        ),
        Target(
            'descriptions in exported files (.pt2)', lambda: [exported_archive(description())],
            read_description, 'a.pt2', 1.5, contents=(description(),), encode=exported_archive,
        ),
        Target(
            'descriptions in exported files (.onnx)', lambda: [onnx_file(description())],
            read_description, 'a.onnx', 1.5, contents=(description(),), encode=onnx_file,
        ),
        Target("requests to the demo page's server", lambda: list(REQUESTS), ask_gate, 'a.txt', 4),
    ]  # fmt: skip
    return {target.name: target for target in found}


STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1,
    2**31, 2**63, 2**64, 10**400, 0.5, -0.0, float('nan'), float('inf'),
    '', 'text', 'a\nb', '\x1b[31m', '\x00', '../../evil', '/etc/passwd', 'x' * 5000, '\ud800',
    [], {}, [[]], [None], {'a': 1}, [1, [2]], ['a', 'a'], [[0, 0], [1, 1]], list(range(300)),
)  # fmt: skip


def mutated(content: Any, seed: int) -> Any:
    """Return plain content with some values replaced, removed, doubled or moved."""
    rng = random.Random(seed)
    content = _copied(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        node = content
        while isinstance(node, (dict, list)) and node:
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            child = node[key]
            if isinstance(child, (dict, list)) and child and rng.random() < 0.8:
                node = child
                continue
            action = rng.random()
            if action < 0.15:
                del node[key]
            elif action < 0.25 and isinstance(node, list):
                node.append(_copied(child))
            elif action < 0.45 and type(child) in (int, float):
                # A float cannot hold the largest of these integers.
                steps = (-1, 1, 1000, -1000, 10**6, 10**10)
                node[key] = child + rng.choice(steps if type(child) is int else (*steps, 0.5))
            elif action < 0.55 and isinstance(child, str):
                node[key] = child[: rng.randrange(len(child) + 1)] + rng.choice(
                    ('', 'é', '\n', '0')
                )
            else:
                node[key] = _copied(rng.choice(STRANGE))
            break
    return content


def _copied(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _copied(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_copied(value) for value in content]
    return content
