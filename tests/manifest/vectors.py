"""The recipes of the golden manifests. They were written once and never change within format 1.

Only the manifests are golden: the bytes of the files are noise, their tables fit them in size alone.
`python -m tests.manifest.vectors --write` writes those that do not exist yet; no test does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bentosync.manifest import build, encode
from bentosync.manifest.values import Envelope, FileEntry, Manifest, Tensor, TensorTable
from tests.manifest.drafts import MIB, blocks, leaves, noise

FOLDER = Path(__file__).parent / "golden"
ENVELOPE = Envelope("q3k7wzx2ab", "0123456789abcdef" * 2, "ann", "box", "2026-11-22T10:00:00+00:00")


def smallest() -> Manifest:
    """Nothing but a model.yaml."""
    return _compose({"model.yaml": b"name: smallest\n"}, name="smallest", version="v1")


def everyday() -> Manifest:
    """Two shards, an index, a tokenizer, a script, an empty file and an empty directory."""
    texts = {
        "config.json": noise(1, 613),
        "model.safetensors.index.json": noise(2, 1877),
        "model.yaml": b"name: everyday\nversion: 2026-11\n",
        "scripts/run.sh": b"#!/bin/sh\nexec true\n",
        "tokenizer/.keep": b"",
        "vocab.txt": noise(3, 65_537),
    }
    shards = {
        "model-00001-of-00002.safetensors": noise(4, 9 * MIB + 17),
        "model-00002-of-00002.safetensors": noise(5, 512),
    }
    tables = {path: _table(data, 8 + 120) for path, data in shards.items()}
    return _compose(
        texts | shards,
        tables=tables,
        executable={"scripts/run.sh"},
        directories=["logs"],
        name="every.day-model",
        version="2026-11",
        labels={"stage": "production", "owner": "ann"},
        module="bentoml.transformers",
    )


def unicode() -> Manifest:
    """Names, labels and tensors beyond ASCII, and everything that needs an escape."""
    files = {
        "model.yaml": b"name: unicode\n",
        "日本語/模型.txt": b"1",
        "ÄÖ/e\u0301": b"2",
        "👩\u200d💻": b"3",
        "%41 b": b"4",
        "ß.safetensors": noise(6, 4096),
    }
    table = TensorTable(96, (Tensor('quote " back \\ slash / 模', "F4", (80, 100), 0, 4000, noise(7, 16)),))
    labels = {"\x00\x1f\x7f": "\b\f\n\r\t", '"\\': "\u2028 \ufffe 😀"}
    return _compose(
        files, tables={"ß.safetensors": table}, directories=["Ω"], name="unicode", version="v", labels=labels
    )


VECTORS = {recipe.__name__: recipe for recipe in (smallest, everyday, unicode)}


def document(manifest: Manifest) -> bytes:
    return encode.document(ENVELOPE, manifest)


def _table(data: bytes, data_offset: int) -> TensorTable:
    half = (len(data) - data_offset) // 2
    rest = len(data) - data_offset - half
    rows = (
        Tensor("layers.0.weight", "U8", (half,), 0, half, noise(half, 16)),
        Tensor("layers.1.weight", "I8", (1, rest), half, half + rest, noise(rest, 16)),
        Tensor("layers.2.none", "BF16", (0, 4), half + rest, half + rest, noise(0, 16)),
    )
    return TensorTable(data_offset, rows)


def _compose(
    contents: dict[str, bytes],
    *,
    name: str,
    version: str,
    tables: dict[str, TensorTable] | None = None,
    executable: frozenset[str] | set[str] = frozenset(),
    directories: list[str] | None = None,
    labels: dict[str, str] | None = None,
    module: str = "",
) -> Manifest:
    return build.compose(
        name=name,
        version=version,
        created="2026-11-22T09:59:00.123456+00:00",
        module=module,
        labels=labels or {},
        files=[
            FileEntry(path, len(data), path in executable, leaves(data), blocks(data), tensors=(tables or {}).get(path))
            for path, data in contents.items()
        ],
        directories=directories or [],
        read=contents.__getitem__,
    )


def main() -> None:
    if "--write" not in sys.argv:
        sys.exit(__doc__)
    for name, recipe in VECTORS.items():
        manifest = recipe()
        for path, data in (
            (FOLDER / f"{name}.jsonl", document(manifest)),
            (FOLDER / f"{name}.pin", f"{manifest.pin}\n".encode()),
        ):
            if not path.exists():
                path.write_bytes(data)


if __name__ == "__main__":
    main()
