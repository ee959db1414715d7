"""Writes TIFF files of kinds that Pillow does not write: any bands, planes, tiles, byte orders, BigTIFF, tags."""

import struct
import zlib
from collections.abc import Callable

import numpy as np

SHORT, LONG, ASCII, LONG8 = 3, 4, 2, 16
_FORMATS = {1: "B", SHORT: "H", LONG: "I", 7: "B", LONG8: "Q"}


def packbits(data: bytes) -> bytes:
    parts = [data[i : i + 128] for i in range(0, len(data), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def lzw(data: bytes) -> bytes:
    """As in TIFF 6.0, section 13: codes of 9 bits and more, the first bit the most significant."""
    bits, width, table, code = [], 9, {}, 258
    put = lambda value: bits.append(f"{value:0{width}b}")  # noqa: E731
    put(256)
    table, omega = {bytes([i]): i for i in range(256)}, b""
    for byte in data:
        longer = omega + bytes([byte])
        if longer in table:
            omega = longer
            continue
        put(table[omega])
        table[longer], code = code, code + 1
        if code == 4094:
            put(256)
            table, code, width = {bytes([i]): i for i in range(256)}, 258, 9
        else:
            width = max(9, code.bit_length())
        omega = bytes([byte])
    put(table[omega])
    if (code + 1).bit_length() > width:
        width += 1
    put(257)
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


CODERS: dict[int, Callable[[bytes], bytes]] = {
    1: bytes, 5: lzw, 8: zlib.compress, 32946: zlib.compress, 32773: packbits}  # fmt: skip


def _differences(block: np.ndarray) -> np.ndarray:
    out = block.copy()
    out[:, 1:] -= block[:, :-1]
    return out


def page(
    pixels: np.ndarray,
    *,
    model: int | None,
    extra: tuple[int, ...] = (),
    compression: int = 1,
    planes: bool = False,
    tile: int = 0,
    rows: int = 0,
    predictor: bool = False,
    missing: tuple[int, ...] = (),
    **tags: tuple[int, object],
) -> tuple[dict[int, tuple[int, object]], list[bytes]]:
    """Tags (type and values; the positions of strips or tiles left open) and strips or tiles of pixels [H, W, bands].

    `missing` numbers strips or tiles that are left out; `t322=(type, values)` sets a tag, `t322=None` drops it.
    """
    height, width, bands = pixels.shape
    bits = pixels.dtype.itemsize * 8
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    found: dict[int, tuple[int, object]] = {
        256: (LONG, (width,)), 257: (LONG, (height,)), 258: (SHORT, (bits,) * bands), 259: (SHORT, (compression,)),
        277: (SHORT, (bands,)), 284: (SHORT, (2 if planes else 1,)), 339: (SHORT, (kind,) * bands),
    }  # fmt: skip
    if model is not None:
        found[262] = (SHORT, (model,))
    if extra:
        found[338] = (SHORT, extra)
    if predictor:
        found[317] = (SHORT, (2,))
    blocks = []
    for layer in [pixels[..., b : b + 1] for b in range(bands)] if planes else [pixels]:
        if tile:
            padded = np.pad(layer, ((0, -height % tile), (0, -width % tile), (0, 0)), mode="edge")
            blocks += [
                padded[y : y + tile, x : x + tile] for y in range(0, height, tile) for x in range(0, width, tile)
            ]
        else:
            blocks += [layer[y : y + (rows or height)] for y in range(0, height, rows or height)]
    if tile:
        found |= {322: (SHORT, (tile,)), 323: (SHORT, (tile,))}
    else:
        found[278] = (LONG, (rows or height,))
    data = [CODERS[compression]((_differences(b) if predictor else b).tobytes()) for b in blocks]
    data = [b"" if number in missing else block for number, block in enumerate(data)]
    for name, value in tags.items():
        found.pop(int(name[1:]), None) if value is None else found.update({int(name[1:]): value})
    return found, data


def tiff(*pages: tuple[dict, list[bytes]], order: str = "<", big: bool = False) -> bytes:
    """A file of some pages."""
    number, offset, step, inline = ("Q", "Q", 20, 8) if big else ("H", "I", 12, 4)
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42))
    if big:
        out += struct.pack(order + "HH", 8, 0)
    link = len(out)
    out += struct.pack(order + offset, 0)
    for tags, data in pages:
        tags = dict(tags)
        starts = []
        for block in data:
            out += b"\0" * (len(out) % 2)
            starts.append(len(out) if block else 0)
            out += block
        at, size = (324, 325) if 322 in tags else (273, 279)
        kind = LONG8 if big else LONG
        tags.setdefault(at, (kind, tuple(starts)))
        tags.setdefault(size, (LONG, tuple(map(len, data))))
        out += b"\0" * (len(out) % 2)
        here = len(out)
        out[link : link + inline] = struct.pack(order + offset, here)
        entries, behind, end = b"", b"", here + struct.calcsize(order + number) + step * len(tags) + inline
        for tag, (kind, values) in sorted(tags.items()):
            packed = (
                values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{_FORMATS[kind]}", *values)
            )
            entries += struct.pack(order + "HH" + offset, tag, kind, len(values))
            if len(packed) <= inline:
                entries += packed.ljust(inline, b"\0")
            else:
                entries += struct.pack(order + offset, end + len(behind))
                behind += packed
        link = here + struct.calcsize(order + number) + len(entries)
        out += struct.pack(order + number, len(tags)) + entries + struct.pack(order + offset, 0) + behind
    return bytes(out)
