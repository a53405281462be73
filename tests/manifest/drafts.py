"""Manifests written by hand: a second, independent writer that knows the format page and nothing of our encoder.

A draft is plain dictionaries, so that a test can say anything, true or not. `document` keeps the card true to the
files unless told otherwise: a hostile case then holds the one lie it is about and no other.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import blake3
import xxhash

MIB = 1 << 20


def noise(number: int, size: int) -> bytes:
    """Bytes without repetition, told apart by `number`."""
    return blake3.blake3(b"noise %d" % number).digest(length=size)


def spelled(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unpacked(text: Any) -> bytes:
    """The bytes, or nothing where a draft does not mean any."""
    try:
        return base64.b64decode(text)
    except (TypeError, ValueError):
        return b""


def leaves(data: bytes) -> bytes:
    return b"".join(blake3.blake3(data[at : at + 8 * MIB]).digest() for at in range(0, len(data), 8 * MIB))


def blocks(data: bytes) -> bytes:
    pieces = (data[at : at + MIB] for at in range(0, len(data), MIB))
    return b"".join(xxhash.xxh3_64_intdigest(piece).to_bytes(8, "big") for piece in pieces)


def small(path: Any, data: bytes, **members: Any) -> dict[str, Any]:
    """The line of a file that is inline."""
    line = {"path": path, "size": len(data), "leaves": packed(leaves(data)), "blocks": packed(blocks(data)), **members}
    return line | {"inline": packed(data)} if data else line


def large(path: Any, size: int, **members: Any) -> dict[str, Any]:
    """The line of a file that is not inline; its digests are arbitrary."""
    return {
        "path": path,
        "size": size,
        "leaves": packed(noise(1, 32 * -(-size // (8 * MIB)))),
        "blocks": packed(noise(2, 8 * -(-size // MIB))),
        **members,
    }


def row(name: Any, dtype: Any, shape: Any, begin: Any, end: Any) -> list[Any]:
    return [name, dtype, shape, begin, end, noise(len(str(name)), 16).hex()]


def table() -> dict[str, Any]:
    """Four tensors, one of them empty, in a data section of 200,000 bytes."""
    return {
        "data": 1000,
        "table": [
            row("embed.weight", "F32", [300, 100], 0, 120_000),
            row("head.weight", "BF16", [2, 20_000], 120_000, 200_000),
            row("none", "F16", [0, 7], 200_000, 200_000),
            row("none.too", "F16", [0], 200_000, 200_000),
        ],
    }


@dataclass
class Draft:
    envelope: dict[str, Any]
    card: dict[str, Any]
    files: list[dict[str, Any]]
    directories: list[dict[str, Any]] = field(default_factory=list)

    def add(self, line: dict[str, Any]) -> None:
        """A file at its place in the order."""
        self.files.append(line)
        self.files.sort(key=lambda line: str(line["path"]))

    def file(self, path: str) -> dict[str, Any]:
        return next(line for line in self.files if line["path"] == path)

    @property
    def rows(self) -> list[list[Any]]:
        table: list[list[Any]] = self.file("model.safetensors")["tensors"]["table"]
        return table

    def lines(self) -> list[bytes]:
        """Every line without its line feed, with the card's totals and content id made true."""
        card = {key: self._true()[key] if value is TRUE else value for key, value in self.card.items()}
        return [spelled(value) for value in (self.envelope, card, *self.files, *self.directories)]

    def document(self) -> bytes:
        return b"".join(line + b"\n" for line in self.lines())

    def body(self) -> bytes:
        return b"".join(line + b"\n" for line in self.lines()[1:])

    def _true(self) -> dict[str, Any]:
        sizes = [line.get("size") for line in self.files]
        total = sum(size for size in sizes if isinstance(size, int))
        return {"files": len(self.files), "size": total, "content": self.content()}

    def content(self) -> str:
        digest = blake3.blake3()
        for line in self.files:
            file_digest = blake3.blake3(unpacked(line.get("leaves"))).hexdigest()
            fields = [line.get("path"), line.get("size"), line.get("executable", False), file_digest]
            digest.update(spelled(fields) + b"\n")
        for line in self.directories:
            digest.update(spelled([line.get("directory")]) + b"\n")
        return f"b3:{digest.hexdigest()}"


TRUE = object()
"""Stands in a card for the value that the files give it."""


def draft() -> Draft:
    """A valid manifest with one of everything."""
    return Draft(
        envelope={
            "format": 1,
            "kind": "bentosync-manifest",
            "push": "q3k7wzx2ab",
            "pushed_at": "2026-11-22T10:00:00+00:00",
            "pushed_by": "ann",
            "pushed_host": "box",
            "write": "0123456789abcdef0123456789abcdef",
        },
        card={
            "name": "m",
            "version": "v1",
            "content": TRUE,
            "size": TRUE,
            "files": TRUE,
            "created": "2026-11-22T09:59:00.123456+00:00",
            "module": "bentoml.transformers",
            "labels": {"owner": "Änne", "stage": "dev"},
        },
        files=[
            large("big.bin", 17 * MIB + 5),
            small("config.json", noise(3, 300)),
            small("dir/run.sh", noise(4, 50), executable=True),
            small("dir/void", b""),
            large("model.safetensors", 201_000, tensors=table()),
            small("model.yaml", b"name: m\nversion: v1\n"),
        ],
        directories=[{"directory": "empty/one"}, {"directory": "empty/two"}],
    )
