"""Encoding and decoding are inverse, and every document that is accepted is the only spelling of what it says."""

from __future__ import annotations

import json
from typing import Any

import blake3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bentosync.errors import IntegrityError
from bentosync.manifest import build, decode, encode
from bentosync.manifest.layout import DTYPE_BITS
from bentosync.manifest.values import Envelope, FileEntry, Manifest, Tensor, TensorTable
from tests.manifest.drafts import MIB, blocks, draft, leaves, noise, spelled

ENVELOPE = Envelope("q3k7wzx2ab", "0123456789abcdef" * 2, "ann", "box", "2026-11-22T10:00:00+00:00")

words = st.text(st.sampled_from("abcdefghij-_ÄÖ😀é %"), min_size=1, max_size=6).map(lambda word: word.strip() or "x")
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
labels = st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=4)


@st.composite
def tensor_tables(draw: st.DrawFn) -> TensorTable:
    rows, position = [], 0
    for name in sorted(draw(st.sets(names, max_size=5))):
        dtype = draw(st.sampled_from(sorted(DTYPE_BITS)))
        shape = tuple(draw(st.lists(st.integers(0, 50), max_size=3)))
        elements = 8 * draw(st.integers(0, 3)) if not shape else _product(shape) * 8
        shape = (*shape, 8) if shape else (elements,)
        end = position + elements * DTYPE_BITS[dtype] // 8
        rows.append(Tensor(name, dtype, shape, position, end, noise(position, 16)))
        position = end
    rows.sort(key=lambda row: (row.begin, row.end, row.name))
    return TensorTable(data_offset=draw(st.integers(10, 5000)), tensors=tuple(rows))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    contents = {"model.yaml": draw(st.binary(min_size=1, max_size=40))}
    files: list[FileEntry] = []
    for number, word in enumerate(draw(st.lists(words, max_size=5))):
        contents[f"d{number % 2}/{number}{word}"] = draw(st.binary(max_size=100))
    for path, data in contents.items():
        executable = draw(st.booleans())
        files.append(FileEntry(path, len(data), executable, leaves(data), blocks(data)))
    for number, size in enumerate(draw(st.lists(st.integers(65_537, 20 * MIB), max_size=3))):
        files.append(_large(f"large{number}", size))
    for number, table in enumerate(draw(st.lists(tensor_tables(), max_size=2))):
        size = table.data_offset + (table.tensors[-1].end if table.tensors else 0)
        path = f"{number}.safetensors"
        contents[path] = noise(number, size) if size <= 65_536 else b""
        if size <= 65_536:
            data = contents[path]
            files.append(FileEntry(path, size, False, leaves(data), blocks(data), tensors=table))
        else:
            files.append(_large(path, size, table))
    return build.compose(
        name=draw(st.from_regex("[a-z0-9]([-._a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)),
        version=draw(st.from_regex("v[a-z0-9]{0,9}", fullmatch=True)),
        created=draw(st.datetimes()).isoformat(),
        module=draw(st.text(max_size=20)),
        labels=draw(labels),
        files=files,
        directories=[f"e{number}/{word}" for number, word in enumerate(draw(st.lists(words, max_size=3)))],
        read=contents.__getitem__,
    )


def _large(path: str, size: int, table: TensorTable | None = None) -> FileEntry:
    leaf_digests, block_digests = noise(1, 32 * -(-size // (8 * MIB))), noise(2, 8 * -(-size // MIB))
    return FileEntry(path, size, False, leaf_digests, block_digests, tensors=table)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for dimension in shape:
        product *= dimension
    return product


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(manifests())
def test_what_was_encoded_is_decoded(manifest: Manifest) -> None:
    data = encode.document(ENVELOPE, manifest)
    assert decode.document(data, name=manifest.card.name, version=manifest.card.version) == (ENVELOPE, manifest)
    assert decode.body(encode.body(manifest)) == manifest
    assert decode.card(data[: decode.HEAD_BYTES]) == (ENVELOPE, manifest.card)
    assert manifest.digest == blake3.blake3(encode.body(manifest)).hexdigest()


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(manifests())
def test_every_line_is_canonical_json(manifest: Manifest) -> None:
    for line in encode.document(ENVELOPE, manifest).split(b"\n")[:-1]:
        assert line == spelled(json.loads(line))


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(manifests())
def test_the_content_id_is_that_of_canonical_lines(manifest: Manifest) -> None:
    rows: list[object] = [[file.path, file.size, file.executable, file.digest.hex()] for file in manifest.files]
    rows += [[path] for path in manifest.directories]
    whole = b"".join(spelled(row) + b"\n" for row in rows)
    assert encode.content_id(manifest.files, manifest.directories) == f"b3:{blake3.blake3(whole).hexdigest()}"


VALID = draft().document()
BODY = draft().body()

edits = st.lists(
    st.tuples(
        st.integers(0, len(VALID) - 1),
        st.sampled_from(["flip", "set", "insert", "delete", "repeat", "swap"]),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=3,
)


def edited(data: bytes, changes: list[tuple[int, str, int]]) -> bytes:
    changed = bytearray(data)
    for at, how, value in changes:
        at %= max(1, len(changed))
        if how == "flip":
            changed[at] ^= 1 << value % 8
        elif how == "set":
            changed[at] = value
        elif how == "insert":
            changed.insert(at, value)
        elif how == "delete":
            del changed[at : at + 1 + value % 16]
        elif how == "repeat":
            changed[at:at] = changed[at : at + value]
        else:
            changed[at : at + 2] = changed[at : at + 2][::-1]
    return bytes(changed)


def check_edited(data: bytes) -> None:
    """Refused as unsafe input, or understood as what it then says and nothing else."""
    try:
        envelope, manifest = decode.document(data)
    except IntegrityError:
        return
    assert encode.document(envelope, manifest) == data
    if manifest.digest == decode.body(BODY).digest:
        assert encode.body(manifest) == BODY


@settings(deadline=None, max_examples=1500)
@given(edits)
def test_an_edited_manifest_is_refused_or_says_exactly_what_it_then_spells(changes: list[tuple[int, str, int]]) -> None:
    check_edited(edited(VALID, changes))


def test_no_flipped_bit_of_the_body_goes_unnoticed() -> None:
    """All but those that make another valid manifest, which has another digest."""
    start = len(VALID) - len(BODY)
    original = decode.body(BODY).digest
    accepted = 0
    for at in range(start, len(VALID)):
        changed = bytearray(VALID)
        changed[at] ^= 1 << at % 8
        try:
            _, manifest = decode.document(bytes(changed))
        except IntegrityError:
            continue
        accepted += 1
        assert manifest.digest != original
        assert encode.body(manifest) == changed[start:]
    assert accepted > 0  # a digit of `created`, say


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_manifest_or_unsafe_input(data: bytes) -> None:
    check_edited(data)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(["envelope", "card", "file", "directory"]), st.data())
def test_any_json_in_the_place_of_a_member_is_unsafe_input(part: str, data: st.DataObject) -> None:
    written = draft()
    lines = {"envelope": written.envelope, "card": written.card, "directory": written.directories[0]}
    line = lines.get(part) or data.draw(st.sampled_from(written.files))
    line[data.draw(st.sampled_from(sorted(line)))] = data.draw(json_values)
    check_edited(written.document())


@pytest.mark.parametrize("text", ['"', "\\", "/", "\b\f\n\r\t", "\x00\x1f", "\x7f", "\u2028", "é", "e\u0301", "😀"])
def test_strings_have_the_shortest_escapes(text: str) -> None:
    spelling = encode.line(text)
    assert json.loads(spelling) == text
    assert len(spelling) == 3 + sum(
        2 if character in '"\\\b\f\n\r\t' else 6 if character < " " else len(character.encode()) for character in text
    )
