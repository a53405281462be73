"""Manifests of format 1 as they were written once: later versions read them, and write the same bytes."""

from __future__ import annotations

import blake3
import pytest

from bentosync.manifest import decode, encode
from tests.manifest.vectors import ENVELOPE, FOLDER, VECTORS, document


@pytest.mark.parametrize("name", VECTORS)
def test_a_golden_manifest_is_read_and_written_unchanged(name: str) -> None:
    data = (FOLDER / f"{name}.jsonl").read_bytes()
    envelope, manifest = decode.document(data)
    assert envelope == ENVELOPE
    assert manifest.pin == (FOLDER / f"{name}.pin").read_text().strip()
    assert encode.document(envelope, manifest) == data


@pytest.mark.parametrize("name", VECTORS)
def test_its_tree_still_composes_to_the_same_bytes(name: str) -> None:
    assert document(VECTORS[name]()) == (FOLDER / f"{name}.jsonl").read_bytes()


@pytest.mark.parametrize("name", VECTORS)
def test_its_pin_is_blake3_from_the_second_line_on(name: str) -> None:
    _, body = (FOLDER / f"{name}.jsonl").read_bytes().split(b"\n", 1)
    assert (FOLDER / f"{name}.pin").read_text() == f"b3:{blake3.blake3(body).hexdigest()}\n"


def test_there_is_a_recipe_for_every_golden_file() -> None:
    expected = {f"{name}{end}" for name in VECTORS for end in (".jsonl", ".pin")}
    assert {path.name for path in FOLDER.iterdir()} == expected
