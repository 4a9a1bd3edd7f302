"""Archives: what is unpacked and refused, and resuming after an interruption."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from publisher_files import write_tar, write_zip

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.archives import Limits, unpack

FILES = {
    'data/images/a.jpg': bytes(range(256)) * 40,
    'data/list.txt': b'a\n',
    'data/labels/a.png': b'\x89PNG' * 1000,
}
WRITERS = {
    'set.zip': write_zip,
    'set.tar': write_tar,
    'set.tar.gz': lambda path, members: write_tar(path, members, 'w:gz'),
    'set.tgz': lambda path, members: write_tar(path, members, 'w:gz'),
    'set.tar.xz': lambda path, members: write_tar(path, members, 'w:xz'),
}
OUTSIDE = [
    '../evil',
    'data/../../evil',
    '/tmp/mmseg_encnet_evil',
    '..\\evil',
    'C:\\evil',
    'C:evil',
    '//host/evil',
    '..',
    './../evil',
]


def tree(folder: Path) -> dict[str, bytes]:
    """Return the files under a folder without the markers of unpacked archives."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and '.unpacked' not in path.parts
    }


def refusal(archive: Path, target: Path, **options) -> str:
    with pytest.raises(UserError) as error:
        unpack(archive, target, **options)
    assert str(archive) in str(error.value)
    assert not (target / '.unpacked').exists()
    # Nothing is written outside the target, and no partial file in it.
    assert {path.name for path in archive.parent.iterdir()} <= {archive.name, target.name}
    assert not list(target.rglob('*.part'))
    return str(error.value)


@pytest.mark.parametrize('name', WRITERS)
def test_unpacked(tmp_path, name):
    WRITERS[name](tmp_path / name, FILES)
    unpack(tmp_path / name, tmp_path / 'out')
    assert tree(tmp_path / 'out') == FILES


@pytest.mark.parametrize('name', ['set.zip', 'set.tgz'])
def test_only_what_is_wanted_and_where(tmp_path, name):
    WRITERS[name](tmp_path / name, {f'./{path}': data for path, data in FILES.items()})
    unpack(
        tmp_path / name,
        tmp_path / 'out',
        lambda path: path.removeprefix('data/') if path.endswith('.png') else None,
    )
    assert tree(tmp_path / 'out') == {'labels/a.png': FILES['data/labels/a.png']}


@pytest.mark.parametrize('name', WRITERS)
def test_goes_on_where_it_stopped(tmp_path, name):
    WRITERS[name](tmp_path / name, FILES)
    out = tmp_path / 'out'
    whole, half, aside = (
        out / path for path in ('data/images/a.jpg', 'data/list.txt', 'data/labels/a.png.part')
    )
    for path in (whole, half, aside):
        path.parent.mkdir(parents=True, exist_ok=True)
    whole.write_bytes(FILES['data/images/a.jpg'])
    half.write_bytes(b'')
    aside.write_bytes(b'half')
    before = whole.stat()
    unpack(tmp_path / name, out)
    assert tree(out) == FILES
    assert (whole.stat().st_ino, whole.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    # A finished archive is not read again.
    (tmp_path / name).write_bytes(b'')
    unpack(tmp_path / name, out)


@pytest.mark.parametrize('evil', OUTSIDE)
@pytest.mark.parametrize('name', ['set.zip', 'set.tgz'])
@pytest.mark.parametrize('wanted', [True, False])
def test_nothing_outside(tmp_path, name, evil, wanted):
    WRITERS[name](tmp_path / name, {'data/list.txt': b'a\n', evil: b'evil'})
    message = refusal(
        tmp_path / name,
        tmp_path / 'out',
        place=lambda path: path if wanted or 'list' in path else None,
    )
    assert repr(evil) in message and 'points outside' in message
    assert tree(tmp_path / 'out') == {'data/list.txt': b'a\n'}
    assert not Path('/tmp/mmseg_encnet_evil').exists()


@pytest.mark.parametrize(
    'kind, link',
    [
        (tarfile.SYMTYPE, '/etc/passwd'),
        (tarfile.SYMTYPE, '..'),
        (tarfile.LNKTYPE, 'data/list.txt'),
        (tarfile.LNKTYPE, '../evil'),
        (tarfile.CHRTYPE, ''),
        (tarfile.BLKTYPE, ''),
        (tarfile.FIFOTYPE, ''),
    ],
)
def test_no_links_and_devices_in_tar(tmp_path, kind, link):
    with tarfile.open(tmp_path / 'set.tar', 'w') as archive:
        info = tarfile.TarInfo('data/evil')
        info.type, info.linkname = kind, link
        archive.addfile(info)
        file = tarfile.TarInfo('data/evil/inside')
        file.size = 4
        archive.addfile(file, io.BytesIO(b'evil'))
    assert "'data/evil'" in refusal(tmp_path / 'set.tar', tmp_path / 'out')
    assert tree(tmp_path / 'out') == {}
    # An entry that is not unpacked does no harm.
    unpack(tmp_path / 'set.tar', tmp_path / 'out', lambda name: None)


def test_no_links_in_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / 'set.zip', 'w') as archive:
        info = zipfile.ZipInfo('data/evil')
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, '/etc/passwd')
    assert "'data/evil'" in refusal(tmp_path / 'set.zip', tmp_path / 'out')
    assert tree(tmp_path / 'out') == {}


@pytest.mark.parametrize('name', ['set.zip', 'set.tgz'])
@pytest.mark.parametrize(
    'limits, what', [(Limits(free=1 << 20), 'bytes'), (Limits(entries=2), 'entries')]
)
def test_bombs(tmp_path, name, limits, what):
    WRITERS[name](tmp_path / name, {f'{i}': bytes(2_000_000) for i in range(3)})
    assert f'many {what}' in refusal(tmp_path / name, tmp_path / 'out', limits=limits)
    unpack(tmp_path / name, tmp_path / 'out')


def test_bomb_of_a_sparse_file(tmp_path):
    info = tarfile.TarInfo('hole')
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    # An empty run of data at 1 TiB: offset and length at byte 386, real size at 483.
    header[386:398] = header[483:495] = b'\x80' + (1 << 40).to_bytes(11, 'big')
    header[398:410] = b'00000000000\0'
    header[148:156] = b' ' * 8
    header[148:156] = f'{sum(header):06o}\0 '.encode()
    (tmp_path / 'set.tar').write_bytes(bytes(header) + bytes(1024))
    assert 'many bytes' in refusal(tmp_path / 'set.tar', tmp_path / 'out')


def test_entry_larger_than_it_says(tmp_path):
    write_zip(tmp_path / 'set.zip', {'lie': bytes(1_000_000)})
    data = (tmp_path / 'set.zip').read_bytes()
    (tmp_path / 'set.zip').write_bytes(
        data.replace((1_000_000).to_bytes(4, 'little'), (10).to_bytes(4, 'little'))
    )
    assert 'damaged' in refusal(tmp_path / 'set.zip', tmp_path / 'out')
    assert tree(tmp_path / 'out') == {}


def test_encrypted(tmp_path):
    write_zip(tmp_path / 'set.zip', FILES)
    data = bytearray((tmp_path / 'set.zip').read_bytes())
    data[6] |= 1
    central = data.index(b'PK\x01\x02')
    data[central + 8] |= 1
    (tmp_path / 'set.zip').write_bytes(data)
    assert 'encrypted' in refusal(tmp_path / 'set.zip', tmp_path / 'out')


@pytest.mark.parametrize(
    'name, damage',
    [
        (name, damage)
        for name in ('set.zip', 'set.tar', 'set.tgz', 'set.tar.xz')
        for damage in ('empty', 'a web page', 'half', 'without its end', 'flipped')
        # Plain tar has no checksum of its contents.
        if (name, damage) != ('set.tar', 'flipped')
    ],
)
def test_damaged(tmp_path, name, damage):
    WRITERS[name](tmp_path / name, FILES)
    data = bytearray((tmp_path / name).read_bytes())
    if damage == 'empty':
        data = b''
    elif damage == 'a web page':
        data = b'<html>404</html>' * 200
    elif damage == 'half':
        data = data[: len(data) // 2]
    elif damage == 'without its end':
        # For tar, cut after the last member, where the next one would begin.
        end = 3 * 512 + sum(-(-len(content) // 512) * 512 for content in FILES.values())
        data = data[:end] if name == 'set.tar' else data[:-10]
    else:
        data[len(data) // 4] ^= 255
    (tmp_path / name).write_bytes(data)
    assert 'damaged' in refusal(tmp_path / name, tmp_path / 'out')


@pytest.mark.parametrize('name', ['set.zip', 'set.tgz'])
@pytest.mark.parametrize('members', [['a', 'a/b'], ['a/b', 'a']])
def test_file_and_folder_of_one_name(tmp_path, name, members):
    WRITERS[name](tmp_path / name, dict.fromkeys(members, b'content'))
    assert 'damaged' in refusal(tmp_path / name, tmp_path / 'out')


@pytest.mark.parametrize('name', ['set.zip', 'set.tgz'])
@pytest.mark.parametrize(
    'reserved',
    [
        '.unpacked/other.zip',
        '.UNPACKED/set.zip',
        '.unpacked. /x',
        '.unpacked',
        'data/.unpacked/x',
        '.unpacked:stream',
        'data/list.txt.part',
    ],
)
def test_no_entry_replaces_a_marker_or_a_temporary_file(tmp_path, name, reserved):
    """Otherwise an archive could make a later one look unpacked."""
    WRITERS[name](tmp_path / name, {'data/list.txt': b'a\n', reserved: b''})
    with pytest.raises(UserError) as refused:
        unpack(tmp_path / name, tmp_path / 'out')
    assert str(tmp_path / name) in str(refused.value) and repr(reserved) in str(refused.value)
    # A colon is refused as the drive of a path.
    reason = 'points outside' if ':' in reserved else 'reserved for unpacking'
    assert reason in str(refused.value)
    assert not (tmp_path / 'out' / '.unpacked').exists()
    # Where it is not unpacked it does no harm, unless it could leave the folder.
    if ':' not in reserved:
        unpack(tmp_path / name, tmp_path / 'out', lambda path: None)


@pytest.mark.parametrize('kind', [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
@pytest.mark.parametrize('compressed', [True, False])
def test_a_header_of_gigabytes_is_not_read(tmp_path, kind, compressed):
    info = tarfile.TarInfo('x')
    info.type, info.size = kind, 1 << 40
    content = info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)
    path = tmp_path / 'set.tar'
    path.write_bytes(gzip.compress(content) if compressed else content)
    assert 'damaged' in refusal(path, tmp_path / 'out')


def test_a_dictionary_of_gigabytes_is_not_allocated(tmp_path):
    path = tmp_path / 'set.tar.xz'
    filters = [dict(id=lzma.FILTER_LZMA2, dict_size=1 << 20)]
    content = bytearray(lzma.compress(bytes(10240), filters=filters))
    # The size of the dictionary follows the properties of the filter in the header of the block.
    assert content[14:16] == bytes([0x21, 0x01])
    content[16] = 40
    content[20:24] = zlib.crc32(content[12:20]).to_bytes(4, 'little')
    path.write_bytes(content)
    assert 'damaged' in refusal(path, tmp_path / 'out')
