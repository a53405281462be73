"""The corpus: archives that must not get in. Each is a name, its bytes, and a word of the message that refuses it."""

from __future__ import annotations

import bz2
import os
import struct
import zlib

from bentosync.formats.archive import carried, zstd
from tests.formats.archive.forging import (
    END,
    MODEL,
    MODEL_YAML,
    central,
    ending,
    gz,
    header,
    honest_zip,
    local,
    member,
    pax,
    record,
    tar,
    xz,
    zipped,
)  # fmt: skip

PATHS = {
    "parent": b"../evil",
    "deep parent": b"a/../../evil",
    "inner parent": b"a/../b",
    "only parent": b"..",
    "absolute": b"/tmp/evil",
    "double slash": b"//evil",
    "empty component": b"a//b",
    "dot component": b"a/./b",
    "two leading dots": b"././a",
    "backslash": b"a\\b",
    "backslash parent": b"..\\evil",
    "drive": b"C:evil",
    "drive path": b"C:/evil",
    "unc": b"\\\\host\\share",
    "trailing slash": b"a/",
    "control": b"a\nb",
    "escape": b"a\x1b[31m",
    "device": b"aux.txt",
    "trailing dot": b"a.",
    "trailing space": b"a ",
    "percent parent": b"%2e%2e/evil",
    "bidi": "a\u202eb".encode(),
    "too long component": b"x" * 256,
    "empty": b"",
    "stream": b"a:stream",
    "star": b"a*",
}
"""Refused by any container."""


def _manifest_piece(text: bytes) -> bytes:
    return pax(record(b"comment", text), kind=b"g")


def _zeros(total: int) -> bytes:
    return tar(header(b"zeros", total) + bytes(total))


def tar_corpus() -> dict[str, tuple[bytes, str]]:
    links = {b"1": "hard link", b"2": "symbolic link", b"3": "character device", b"4": "block device", b"6": "pipe",
             b"7": "contiguous", b"S": "sparse", b"V": "volume", b"M": "multi-volume", b"D": "dumped",
             b"K": "long link", b"Z": "unknown type", b"X": "unknown type", b"\xff": "unknown type"}  # fmt: skip
    found = {
        f"{what} {kind!a}": (tar(header(b"a", kind=kind, link=b"/etc/passwd")), what) for kind, what in links.items()
    }
    chain = tar(*(header(b"l%d" % n, kind=b"2", link=b"l%d" % (n + 1)) for n in range(300)), member(b"l0/evil", b"x"))
    found |= {
        "symlink then file through it": (tar(header(b"d", kind=b"2", link=b"/tmp"), member(b"d/evil", b"x")), "link"),
        "symlink chain": (chain, "link"),
        "hard link to a member": (tar(member(b"a", b"x"), header(b"b", kind=b"1", link=b"a")), "hard link"),
        "pax linkpath": (tar(pax(record(b"linkpath", b"/etc")), header(b"a", kind=b"2")), "linkpath"),
        "gnu sparse by pax": (tar(pax(record(b"GNU.sparse.major", b"1")), member(b"a", b"x")), "sparse"),
        "star sparse by pax": (tar(pax(record(b"SCHILY.realsize", b"9")), member(b"a", b"x")), "sparse"),
        "set-user-id": (tar(member(b"a", b"x", mode=0o4755)), "set-user-id"),
        "set-group-id": (tar(member(b"a", b"x", mode=0o2755)), "set-user-id"),
        "wrong checksum": (tar(header(b"a", checksum=1)), "checksum"),
        "checksum not octal": (tar(_patched(header(b"a"), 148, b"99999999")), "checksum"),
        "negative size": (tar(header(b"a", size_field=b"-0000000001\0")), "octal"),
        "size not octal": (tar(header(b"a", size_field=b"99999999999\0")), "octal"),
        "negative binary size": (tar(header(b"a", size_field=b"\xff" * 12)), "octal"),
        "enormous binary size": (tar(header(b"a", size_field=b"\x80" + b"\xff" * 11)), "more than"),
        "mode not octal": (tar(_patched(header(b"a"), 100, b"9999999\0", fix=True)), "octal"),
        "folder with a size": (tar(member(b"a/", b"x", kind=b"5")), "size"),
        "pax size contradicts": (tar(pax(record(b"size", b"1024")), member(b"a", b"x")), "size"),
        "pax size smaller": (tar(pax(record(b"size", b"0")), member(b"a", b"x" * 600)), "size"),
        "pax size negative": (tar(pax(record(b"size", b"-1")), member(b"a", b"x")), "size"),
        "pax size no number": (tar(pax(record(b"size", b"1e9")), member(b"a", b"x")), "size"),
        "pax size huge": (tar(pax(record(b"size", b"9" * 19)), member(b"a")), "more than"),
        "pax record too long": (tar(pax(b"99 path=a\n"), member(b"a")), "pax record"),
        "pax record too short": (tar(pax(b"5 path=a\n"), member(b"a")), "pax record"),
        "pax record of length zero": (tar(pax(b"0 path=a\n"), member(b"a")), "pax record"),
        "pax record without end": (tar(pax(b"9 path=aa"), member(b"a")), "pax record"),
        "pax record without keyword": (tar(pax(record(b"", b"x")), member(b"a")), "keyword"),
        "pax keyword twice": (tar(pax(record(b"path", b"a"), record(b"path", b"b")), member(b"c")), "second one"),
        "pax not utf-8": (tar(pax(record(b"path", b"\xff\xfe")), member(b"a")), "UTF-8"),
        "pax charset": (tar(pax(record(b"hdrcharset", b"BINARY")), member(b"a")), "hdrcharset"),
        "pax nul in path": (tar(pax(record(b"path", b"a\x00b")), member(b"a")), "character"),
        "pax path of parent": (tar(pax(record(b"path", b"../evil")), member(b"a", b"x")), "component"),
        "pax huge": (tar(header(b"pax", 1 << 40, kind=b"x")), "tar header"),
        "pax without member": (tar(pax(record(b"path", b"a"))), "end mark"),
        "two pax headers": (
            tar(pax(record(b"path", b"a")), pax(record(b"path", b"b")), member(b"c")),
            "two tar headers",
        ),
        "global path": (tar(pax(record(b"path", b"a"), kind=b"g"), member(b"c")), "global"),
        "global size": (tar(pax(record(b"size", b"1"), kind=b"g"), member(b"c")), "global"),
        "global linkpath": (tar(pax(record(b"linkpath", b"a"), kind=b"g"), member(b"c")), "linkpath"),
        "global inside a member": (tar(pax(record(b"path", b"a")) + pax(kind=b"g"), member(b"c")), "global"),
        "long name of parent": (tar(member(b"L", b"../evil\0", kind=b"L"), member(b"a")), "component"),
        "long name twice": (tar(member(b"L", b"a\0", kind=b"L") * 2, member(b"a")), "two tar headers"),
        "long name and pax path": (
            tar(member(b"L", b"a\0", kind=b"L"), pax(record(b"path", b"b")), member(b"c")),
            "two long names",
        ),
        "name not utf-8": (tar(member(b"\xff\xfe", b"x")), "UTF-8"),
        "prefix escapes": (tar(member(b"evil", b"x", prefix=b"..")), "component"),
        "prefix in an old header": (tar(member(b"a", b"x", prefix=b"b", magic=b"ustar  \0")), "prefix"),
        "file twice": (tar(member(b"a", b"1"), member(b"a", b"2")), "two entries"),
        "file twice by dot slash": (tar(member(b"a", b"1"), member(b"./a", b"2")), "two entries"),
        "model.yaml twice": (tar(member(b"model.yaml", b"x")), "two entries"),
        "folder twice": (tar(header(b"d/", kind=b"5") * 2), "twice"),
        "file then folder": (tar(member(b"a", b"1"), header(b"a/", kind=b"5")), "file and a folder"),
        "folder then file": (tar(header(b"a/", kind=b"5"), member(b"a", b"1")), "two entries"),
        "file used as a folder": (tar(member(b"a", b"1"), member(b"a/b", b"2")), "file and a folder"),
        "case twins": (tar(member(b"Weights", b"1"), member(b"weights", b"2")), "collides"),
        "unicode twins": (tar(member("\u00e9".encode(), b"1"), member("e\u0301".encode(), b"2")), "collides"),
        "case twins as folders": (tar(member(b"D/a", b"1"), member(b"d/b", b"2")), "collides"),
        "one end block": (tar(end=bytes(512)), "ends early"),
        "no end": (tar(end=b""), "ends early"),
        "half end": (tar(end=bytes(512) + b"x" * 512), "end mark"),
        "text after the end": (tar(end=END + b"more"), "follows"),
        "a second tar after the end": (tar(end=END + tar()), "follows"),
        "a member after the end": (tar(end=END + member(b"evil", b"x")), "follows"),
        "zeros without end": (tar(end=bytes(4 << 20)), "follows"),
        "truncated in the data": (tar(member(b"a", b"x" * 5000))[:-4000], "ends early"),
        "bomb gz": (gz(_zeros(80 << 20)), "expand"),
        "bomb xz": (xz(_zeros(80 << 20)), "expand"),
        "bomb bz2": (bz2.compress(_zeros(80 << 20), 1), "expand"),
        "bomb zst": (_zst(_zeros(80 << 20)), "expand"),
        "zst damaged": (_flipped(_zst(tar()), -3), "damaged"),
        "zst then text": (_zst(tar()) + b"more and more", "damaged"),
        "zst then a second tar": (_zst(tar()) + _zst(tar()), "follows"),
        "zst cut": (_zst(tar())[:-9], "ends early"),
        "zst that asks for 2 GiB of memory": (_zst(tar(member(b"w", os.urandom(1 << 20))), window_log=31), "damaged"),
        "bomb behind the end": (gz(tar(end=bytes(80 << 20))), "follows"),
        "gz damaged": (_flipped(gz(tar()), -6), "damaged"),
        "xz damaged": (_flipped(xz(tar()), 40), "damaged"),
        "bz2 damaged": (_flipped(bz2.compress(tar()), -30), "damaged"),
        "gz then text": (gz(tar()) + b"more", "damaged"),
        "xz then text": (xz(tar()) + b"more and more" * 9, "damaged"),
        "gz then a second tar": (gz(tar()) + gz(tar()), "follows"),
        "xz then a second tar": (xz(tar()) + xz(tar()), "follows"),
        "gz cut": (gz(tar())[:-9], "ends early"),
        "xz cut": (xz(tar())[:-9], "ends early"),
        "gz in gz": (gz(gz(tar())), "ends early"),
        "a gz of noise": (gz(os.urandom(4096)), "checksum"),
        "a gz of nothing": (gz(b""), "ends early"),
        "manifest of nonsense": (_manifest_piece(b"bentosync-manifest 1/1\nnonsense\n") + tar(), "manifest"),
        "manifest piece missing": (_manifest_piece(b"bentosync-manifest 1/2\n{}\n") + tar(), "pieces"),
        "manifest out of order": (_manifest_piece(b"bentosync-manifest 2/2\n{}\n") + tar(), "piece 1"),
        "manifest without number": (_manifest_piece(b"bentosync-manifest x\n{}\n") + tar(), "piece 1"),
        "manifest behind a member": (tar(_manifest_piece(b"bentosync-manifest 1/1\n{}\n"), member(b"a")), "behind"),
    }
    return found


def zip_corpus() -> dict[str, tuple[bytes, str]]:
    def one(name: bytes, data: bytes = b"x", **both: object) -> bytes:
        return zipped((name, data, dict(both), dict(both)))

    def differing(here: dict[str, object], there: dict[str, object]) -> bytes:
        return zipped((b"a", b"xyz", here, there))

    kinds = {"symlink": 0o120777, "pipe": 0o010644, "socket": 0o140644, "device": 0o060644, "folder as file": 0o040755}
    found = {f"zip {what}": (zipped((b"a", b"/etc", {}, {"mode": mode})), "mode") for what, mode in kinds.items()}
    twice = (b"a", b"1", {}, {})
    overlap = local(b"model.yaml", MODEL_YAML) + local(b"a", b"x" * 100)
    shared = central(b"model.yaml", MODEL_YAML, 0) + central(b"b", MODEL_YAML, 0)
    first = len(local(b"model.yaml", MODEL_YAML))
    hidden = local(b"model.yaml", MODEL_YAML) + local(b"hidden", b"x") + local(b"a", b"y")
    listed = central(b"model.yaml", MODEL_YAML, 0) + central(b"a", b"y", first + len(local(b"hidden", b"x")))
    quine = zipped((b"a", b"\0" * (80 << 20), {"method": 8}, {"method": 8}))
    found |= {
        "zip set-user-id": (zipped((b"a", b"x", {}, {"mode": 0o104755})), "set-user-id"),
        "zip folder with a size": (zipped((b"a/", b"x", {}, {"mode": 0o040755})), "size"),
        "zip encrypted": (one(b"a", flags=1), "encrypted"),
        "zip unknown flag": (one(b"a", flags=0x20), "flags"),
        "zip lzma": (one(b"a", method=14), "method"),
        "zip name not utf-8": (one(b"\xff\xfe", flags=0x800), "path"),
        "zip name in cp437": (one(b"\x81"), "encoding"),
        "zip twice": (zipped(twice, twice), "two entries"),
        "zip case twins": (zipped((b"A", b"1", {}, {}), (b"a", b"2", {}, {})), "collides"),
        "zip local name differs": (_flipped(zipped(twice), first + 30), "differ"),
        "zip local size differs": (differing({"size": 2}, {}), "differ"),
        "zip local crc differs": (differing({"crc": 1}, {}), "differ"),
        "zip local method differs": (differing({"method": 8}, {"packed": 5}), "differ"),
        "zip local flags differ": (differing({"flags": 8}, {}), "differ"),
        "zip crc lies": (differing({"crc": 1}, {"crc": 1}), "CRC"),
        "zip size lies": (differing({"size": 9}, {"size": 9}), "CRC"),
        "zip deflated size lies": (differing({"method": 8, "size": 2}, {"method": 8, "size": 2}), "CRC"),
        "zip deflate damaged": (
            zipped((b"a", b"\xff" * 20, {"method": 8, "flags": 0}, {"method": 8})).replace(
                _raw(b"\xff" * 20), b"\x07" * len(_raw(b"\xff" * 20))
            ),
            "damaged",
        ),
        "zip deflate goes on": (_deflate_goes_on(), "goes on"),
        "zip overlap": (overlap + shared + ending(2, len(shared), len(overlap)), "begins at"),
        "zip hidden entry": (hidden + listed + ending(2, len(listed), len(hidden)), "begins at"),
        "zip prefix": (b"#!/bin/sh\n" + zipped(), "format"),
        "zip prefix inside": (b"PK\x03\x04junk" + zipped(), "central directory"),
        "zip bomb": (quine, "expand"),
        "zip gap of zeros": (zipped(gap=bytes(16)), "in front of"),
        "zip gap of another record": (zipped(gap=b"PK\x06\x08\xff\xff\xff\xff"), "in front of"),
        "zip manifest of nonsense": (
            zipped(gap=b"PK\x06\x08" + struct.pack("<I", 25) + b"bentosync-manifest 1/1\n{}"),
            "manifest",
        ),
        "zip several disks": (zipped(disk=1), "disks"),
        "zip entry on another disk": (zipped((b"a", b"x", {}, {"disk": 3})), "malformed"),
        "zip comment with an end": (zipped(comment=b"PK\x05\x06" + bytes(18)), "ends of a zip"),
        "zip text after the end": (zipped() + b"more", "ends of a zip"),
        "zip cut": (zipped()[:-1], "ends of a zip"),
        "zip directory cut": (_patched(zipped(), -10, struct.pack("<I", 10)), "central directory"),
        "zip too many entries said": (_patched(zipped(), -14, b"\x09\x00\x09\x00"), "entries"),
        "zip offset beyond the end": (zipped((b"a", b"x", {}, {}))[:-22] + ending(2, 9999, 99999), "central directory"),
        "zip data beyond the end": (differing({"packed": 9999, "size": 9999}, {"packed": 9999, "size": 9999}), "end"),
        "zip extra field too long": (zipped((b"a", b"x", {}, {"extra": b"\x01\x00\xff\xff"})), "extra"),
        "zip extra field twice": (zipped((b"a", b"x", {}, {"extra": b"\x99\x00\x00\x00" * 2})), "extra"),
        "zip64 field without need": (zipped((b"a", b"x", {}, {"extra": b"\x01\x00\x08\x00" + bytes(8)})), "zip64"),
        "zip64 sizes enormous": (
            zipped(
                (
                    b"a",
                    b"x",
                    {},
                    {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": b"\x01\x00\x10\x00" + b"\xff" * 16},
                )
            ),
            "expand",
        ),
        "zip descriptor lies": (_descriptor(zlib.crc32(b"xyz"), 3, 4), "descriptor"),
        "zip descriptor missing": (
            differing({"flags": 8, "crc": 0, "size": 0, "packed": 0}, {"flags": 8}),
            "descriptor",
        ),
        "zip of nothing but an end": (ending(0, 0, 0), "empty"),
        "zip data without entries": (b"PK\x03\x04" + bytes(60) + ending(0, 0, 64), "no entries"),
        "zip model.yaml as folder": (
            honest_zip(lambda archive: archive.writestr("model.yaml/x", b"")),
            "file and a folder",
        ),
    }
    return found


def path_corpus() -> dict[str, tuple[bytes, str]]:
    found: dict[str, tuple[bytes, str]] = {}
    for what, name in PATHS.items():
        found[f"tar path {what}"] = (tar(pax(record(b"path", name)), member(b"x", b"evil")), "")
        if what != "trailing slash":  # in a zip that is a folder
            flags = 0 if name.isascii() else 0x800
            found[f"zip path {what}"] = (zipped((name, b"evil", {"flags": flags}, {"flags": flags})), "")
    return found


def corpus() -> dict[str, tuple[bytes, str]]:
    return tar_corpus() | zip_corpus() | path_corpus()


def truncations() -> list[bytes]:
    """An archive with a manifest and long members, cut at every block."""
    body = b"".join(map(_manifest_piece, carried.split(b"{}\n")))
    whole = tar(
        member(b"a", b"x" * 1500), pax(record(b"path", b"b")), member(b"c", b"y" * 700), header(b"d/", kind=b"5")
    )
    whole = body + whole
    assert whole.startswith(body) and MODEL in whole
    return [whole[:end] for end in range(0, len(whole), 512)]


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at:][1:]


def _patched(data: bytes, at: int, what: bytes, fix: bool = False) -> bytes:
    at %= len(data)
    data = data[:at] + what + data[at + len(what) :]
    if fix:
        blank = data[:148] + b" " * 8 + data[156:]
        data = data[:148] + b"%06o\0 " % sum(blank) + data[156:]
    return data


def _raw(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _deflate_goes_on() -> bytes:
    raw = _raw(b"xyz") + b"junk"
    values = {"method": 8, "packed": len(raw)}
    body = local(b"model.yaml", MODEL_YAML)
    start = len(body)
    body += local(b"a", b"xyz", **values) + b"junk"
    directory = central(b"model.yaml", MODEL_YAML) + central(b"a", b"xyz", start, **values)
    return body + directory + ending(2, len(directory), len(body))


def _descriptor(crc: int, packed: int, size: int) -> bytes:
    streamed = {"flags": 8}
    gap = b"PK\x07\x08" + struct.pack("<III", crc, packed, size)
    return zipped((b"a", b"xyz", streamed | {"crc": 0, "size": 0, "packed": 0}, streamed), gap=gap)


def _zst(data: bytes, window_log: int | None = None) -> bytes:
    found = zstd.library()
    options = {found.CompressionParameter.checksum_flag: 1}
    if window_log is None:
        return bytes(found.compress(data, options=options))
    # A streaming encoder does not know the size, so the frame asks for the whole window.
    encoder = found.ZstdCompressor(options=options | {found.CompressionParameter.window_log: window_log})
    return bytes(encoder.compress(data) + encoder.flush())
