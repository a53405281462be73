"""One pass, any chunking: the entry is that of hashing every block, leaf and tensor on its own."""

from __future__ import annotations

import threading
import tracemalloc
from itertools import pairwise

import blake3
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from bentosync.errors import IntegrityError
from bentosync.formats.digester import FileDigester
from bentosync.formats.safetensors import parse_header
from bentosync.manifest import build, decode, encode
from bentosync.manifest.values import FileEntry, Tensor, TensorTable
from tests.blocks import content
from tests.formats.headers import file_of, tensor, valid

MIB = 1 << 20


def expected(path: str, data: bytes, *, executable: bool = False) -> FileEntry:
    """The entry by the words of the format page, from a file at hand as a whole."""
    leaves = b"".join(blake3.blake3(data[at : at + 8 * MIB]).digest() for at in range(0, len(data), 8 * MIB))
    blocks = b"".join(
        xxhash.xxh3_64_intdigest(data[at : at + MIB]).to_bytes(8, "big") for at in range(0, len(data), MIB)
    )
    return FileEntry(path, len(data), executable, leaves, blocks)


def expected_table(data: bytes) -> TensorTable:
    header = parse_header(data, len(data))
    section = data[header.data_offset :]
    rows = [
        Tensor(
            *(spec.name, spec.dtype, spec.shape, spec.begin, spec.end),
            fingerprint=xxhash.xxh3_128_intdigest(section[spec.begin : spec.end]).to_bytes(16, "big"),
        )
        for spec in header.tensors
    ]
    return TensorTable(header.data_offset, tuple(rows))


def digested(path: str, data: bytes, step: int) -> FileEntry:
    digester = FileDigester(path, len(data), executable=False)
    for at in range(0, len(data), step):
        digester.update(memoryview(data)[at : at + step])
    return digester.finish()


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 17 * MIB + 5])
@pytest.mark.parametrize("step", [65_537, MIB, 5 * MIB, 16 * MIB, 64 * MIB])
def test_blocks_and_leaves_are_those_of_the_file_in_pieces(size: int, step: int) -> None:
    data = content(1, size)
    assert digested("weights.bin", data, step) == expected("weights.bin", data)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_small_files_may_come_in_crumbs(step: int) -> None:
    data = content(2, 3001)
    assert digested("a", data, step) == expected("a", data)


@pytest.mark.parametrize("step", [1, 3, 8, 100, 5000])
def test_tensors_are_fingerprinted_whatever_the_chunking(step: int) -> None:
    data = valid()
    assert digested("a.safetensors", data, step).tensors == expected_table(data)


@pytest.mark.parametrize("step", [MIB - 1, MIB, 3 * MIB, 64 * MIB])
def test_tensors_that_span_blocks_and_leaves_are_fingerprinted(step: int) -> None:
    data = valid(9 * MIB + 77)
    entry = digested("model.safetensors", data, step)
    assert entry.tensors == expected_table(data)
    assert (entry.leaves, entry.blocks) == (expected("", data).leaves, expected("", data).blocks)


def test_many_small_tensors_are_fingerprinted() -> None:
    header = {f"{number:05}": tensor("U8", [number % 5], 0, 0) for number in range(3000)}
    position = 0
    for entry in header.values():
        entry["data_offsets"] = [position, position + entry["shape"][0]]
        position += entry["shape"][0]
    data = file_of(header, content(3, position))
    for step in (1000, MIB):
        assert digested("a.safetensors", data, step).tensors == expected_table(data)


@pytest.mark.parametrize("data", [file_of({}), file_of(b"{}   "), file_of({"a": tensor("F32", [0], 0, 0)})])
def test_a_file_of_nothing_but_its_header_has_a_table(data: bytes) -> None:
    for step in (1, 8, 100):
        assert digested("a.safetensors", data, step).tensors == expected_table(data)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, len(valid())), max_size=8))
def test_any_cuts_give_the_same_entry(cuts: list[int]) -> None:
    data = valid()
    digester = FileDigester("a.safetensors", len(data), executable=False)
    for begin, end in pairwise([0, *sorted(cuts), len(data)]):
        digester.update(data[begin:end])
    assert digester.finish() == digested("a.safetensors", data, len(data))


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (b"", "ends after 0 bytes"),
        (b"1234567", "ends after 7 bytes"),
        (b"\xff" * 100, "not within"),
        (file_of(b"{}", length=50), "do not fit"),
        (file_of(b"[]" + b"x" * 1000), "malformed"),
        (file_of({"a": tensor("U8", [3], 0, 3)}, b"xy"), "ends at byte 3"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "not within"),
    ],
)
@pytest.mark.parametrize("step", [1, 13, MIB])
def test_an_invalid_header_gives_no_table_and_a_note(data: bytes, note: str, step: int) -> None:
    digester = FileDigester("a.safetensors", len(data), executable=False)
    for at in range(0, len(data), step):
        digester.update(data[at : at + step])
    assert digester.finish() == expected("a.safetensors", data)
    assert digester.note is not None
    assert note in digester.note


def test_a_valid_header_and_other_files_have_no_note() -> None:
    for path, data in (("a.safetensors", valid()), ("a.bin", b"\xff" * 100), ("a.safetensors.index.json", b"{}")):
        digester = FileDigester(path, len(data), executable=False)
        digester.update(data)
        digester.finish()
        assert digester.note is None


def test_only_safetensors_files_get_a_table() -> None:
    assert digested("a.bin", valid(), MIB).tensors is None
    assert digested("safetensors", valid(), MIB).tensors is None


def test_the_executable_bit_and_the_path_are_kept() -> None:
    digester = FileDigester("bin/run", 2, executable=True)
    digester.update(b"#!")
    assert digester.finish() == expected("bin/run", b"#!", executable=True)


def test_more_bytes_than_announced_are_an_integrity_error() -> None:
    digester = FileDigester("a", 3, executable=False)
    digester.update(b"ab")
    with pytest.raises(IntegrityError, match="'a' has more than 3 bytes"):
        digester.update(b"cd")


def test_fewer_bytes_than_announced_are_an_integrity_error() -> None:
    digester = FileDigester("a.safetensors", 1000, executable=False)
    digester.update(valid()[:500])
    with pytest.raises(IntegrityError, match="has 500 of 1000 bytes"):
        digester.finish()


def test_the_buffer_may_be_reused_after_every_call() -> None:
    data = valid(3 * MIB)
    digester = FileDigester("a.safetensors", len(data), executable=False)
    buffer = bytearray(100_000)
    for at in range(0, len(data), len(buffer)):
        piece = data[at : at + len(buffer)]
        buffer[: len(piece)] = piece
        digester.update(memoryview(buffer)[: len(piece)])
        buffer[:] = b"\xff" * len(buffer)
    assert digester.finish().tensors == expected_table(data)


def test_payload_is_never_copied() -> None:
    data = valid(16 * MIB)
    digester = FileDigester("a.safetensors", len(data), executable=False)
    tracemalloc.start()
    digester.update(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000


def test_a_header_that_is_only_announced_is_not_allocated() -> None:
    digester = FileDigester("a.safetensors", 1 << 40, executable=False)
    tracemalloc.start()
    digester.update((100_000_000).to_bytes(8, "little") + b"{" * 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_digesters_run_side_by_side() -> None:
    data = {f"{number}.safetensors": valid(2 * MIB + number) for number in range(4)}
    entries: dict[str, FileEntry] = {}

    def digest(path: str) -> None:
        entries[path] = digested(path, data[path], 300_000)

    threads = [threading.Thread(target=digest, args=(path,)) for path in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path: entry.tensors for path, entry in entries.items()} == {
        path: expected_table(whole) for path, whole in data.items()
    }


def test_a_digested_tree_makes_a_manifest_that_is_read_back() -> None:
    files = {"model.yaml": b"name: m\n", "model.safetensors": valid(MIB), "small.safetensors": valid(), "void": b""}
    manifest = build.compose(
        name="m",
        version="v1",
        created="2026-11-22T09:59:00+00:00",
        module="",
        labels={},
        files=[digested(path, data, 1000) for path, data in files.items()],
        directories=[],
        read=files.__getitem__,
    )
    assert decode.body(encode.body(manifest)) == manifest
    assert manifest.files[0].tensors == expected_table(files["model.safetensors"])
