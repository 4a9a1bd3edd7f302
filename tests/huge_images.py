"""Small files that claim many pixels, or decode to them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path


def jpeg(width: int, height: int) -> bytes:
    """Return a JPEG file of the given size that ends after its headers."""
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.new('RGB', (8, 8)).save(buffer, 'JPEG')
    content = bytearray(buffer.getvalue())
    start = content.index(b'\xff\xc0') + 5
    content[start : start + 4] = struct.pack('>HH', height, width)
    return bytes(content)


def png(width: int, height: int, channels: int = 3, rows: int | None = None) -> bytes:
    """Return a PNG file of zeros, compressed to a thousandth of its pixels, or only some rows."""
    packer = zlib.compressobj(9)
    row = bytes(1 + width * channels)
    data = b''.join(packer.compress(row) for _ in range(height if rows is None else rows))
    data += packer.flush()
    header = struct.pack('>IIBBBBB', width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    chunks = ((b'IHDR', header), (b'IDAT', data), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(part)) + name + part + struct.pack('>I', zlib.crc32(name + part))
        for name, part in chunks
    )


def bmp(width: int, height: int) -> bytes:
    """Return a BMP file without pixels."""
    return b'BM' + struct.pack('<IHHIIiiHHIIiiII', 54, 0, 0, 54, 40, width, height, 1, 24, *[0] * 6)


def tiff(width: int, height: int, samples: int = 3, bits: int = 8, big: bool = False) -> bytes:
    """Return a TIFF file without pixels; `big` selects BigTIFF."""
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: samples, 278: height}
    tags[279] = 0
    if big:
        entries = b''.join(struct.pack('<HHQQ', tag, 4, 1, tags[tag]) for tag in sorted(tags))
        return b'II+\0' + struct.pack('<HHQQ', 8, 0, 16, len(tags)) + entries + bytes(8)
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b'II*\0' + struct.pack('<IH', 8, len(tags)) + entries + bytes(4)


def webp(width: int, height: int) -> bytes:
    """Return a WebP file with the header of its canvas alone."""
    sides = struct.pack('<I', width - 1)[:3] + struct.pack('<I', height - 1)[:3]
    chunk = b'VP8X' + struct.pack('<II', 10, 0) + sides
    return b'RIFF' + struct.pack('<I', 4 + len(chunk)) + b'WEBP' + chunk


def npy(width: int, height: int) -> bytes:
    """Return an array file without its values."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}, 3), }}\n"
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text.encode()


def write(path: Path, content: bytes) -> Path:
    """Write a file, and return its path."""
    path.write_bytes(content)
    return path
