"""Reading manifests: what is valid is understood, whatever the chunking; what is not is refused (test_hostile)."""

from __future__ import annotations

import tracemalloc

import blake3
import pytest

from bentosync.errors import IntegrityError, UnsafeInput
from bentosync.manifest import decode, rules
from bentosync.manifest.values import Card, Envelope, Tensor
from tests.manifest.drafts import TRUE, draft, large, small, spelled, unpacked


def test_a_document_is_read_as_what_it_says() -> None:
    written = draft()
    envelope, manifest = decode.document(written.document())
    assert envelope == Envelope(
        push_id="q3k7wzx2ab",
        write_id="0123456789abcdef0123456789abcdef",
        pushed_by="ann",
        pushed_host="box",
        pushed_at="2026-11-22T10:00:00+00:00",
    )
    assert manifest.card == Card(
        name="m",
        version="v1",
        content=written.content(),
        size=17 * (1 << 20) + 5 + 300 + 50 + 201_000 + 20,
        files=6,
        created="2026-11-22T09:59:00.123456+00:00",
        module="bentoml.transformers",
        labels=(("owner", "Änne"), ("stage", "dev")),
    )
    assert [(entry.path, entry.size, entry.executable) for entry in manifest.files] == [
        ("big.bin", 17 * (1 << 20) + 5, False),
        ("config.json", 300, False),
        ("dir/run.sh", 50, True),
        ("dir/void", 0, False),
        ("model.safetensors", 201_000, False),
        ("model.yaml", 20, False),
    ]
    assert manifest.directories == ("empty/one", "empty/two")


def test_digests_inline_bytes_and_tensors_are_read_as_written() -> None:
    written = draft()
    manifest = decode.body(written.body())
    for entry, line in zip(manifest.files, written.files, strict=True):
        assert (entry.leaves, entry.blocks) == (unpacked(line["leaves"]), unpacked(line["blocks"]))
        assert entry.inline == (unpacked(line["inline"]) if "inline" in line else None)
    table = manifest.files[4].tensors
    assert table is not None
    assert table.data_offset == 1000
    assert table.tensors == tuple(
        Tensor(name, dtype, tuple(shape), begin, end, bytes.fromhex(fingerprint))
        for name, dtype, shape, begin, end, fingerprint in written.rows
    )


def test_the_digest_covers_everything_but_the_envelope() -> None:
    written = draft()
    _, manifest = decode.document(written.document())
    assert manifest.digest == blake3.blake3(written.body()).hexdigest()
    written.envelope["pushed_by"] = "bob"
    assert decode.document(written.document())[1] == manifest


@pytest.mark.parametrize("step", [1, 7, 97, 1000, 1 << 20])
def test_the_chunking_does_not_matter(step: int) -> None:
    data = draft().document()
    parser = decode.Parser("m", "v1")
    buffer = bytearray(step)
    for at in range(0, len(data), step):
        chunk = data[at : at + step]
        buffer[: len(chunk)] = chunk
        parser.feed(memoryview(buffer)[: len(chunk)])
    assert parser.finish() == decode.document(data)


def test_escaped_strings_are_understood() -> None:
    written = draft()
    written.card["labels"] = {'"\\\b\f\n\r\t\x00\x1f': "\x7f\u2028 / 😀"}
    written.rows[0][0] = 'layer"],["\\ 😀'
    _, manifest = decode.document(written.document())
    assert manifest.card.labels == (('"\\\b\f\n\r\t\x00\x1f', "\x7f\u2028 / 😀"),)
    assert manifest.files[4].tensors is not None
    assert manifest.files[4].tensors.tensors[0].name == 'layer"],["\\ 😀'


def test_a_version_of_nothing_but_its_model_yaml_is_valid() -> None:
    written = draft()
    written.files, written.directories = [small("model.yaml", b"x")], []
    del written.card["labels"]
    assert [entry.inline for entry in decode.body(written.body()).files] == [b"x"]


def test_inline_bytes_may_reach_the_limit_exactly() -> None:
    written = draft()
    written.files = [small("model.yaml", b"x" * (1 << 20)), large("small.txt", 1)]
    assert decode.body(written.body()).files[1].inline is None
    written.files = [small("model.yaml", b"x" * ((1 << 20) - 1)), small("small.txt", b"y")]
    assert decode.body(written.body()).files[1].inline == b"y"


def test_a_file_too_large_for_what_is_left_does_not_keep_later_ones_out() -> None:
    written = draft()
    yaml = b"y" * ((1 << 20) - 100)
    written.files = [large("a", 101), small("b", b"b" * 60), large("c", 41), small("d", b"d" * 40), large("e", 1)]
    written.add(small("model.yaml", yaml))
    assert [entry.inline is not None for entry in decode.body(written.body()).files] == [
        False, True, False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "version"), [("other", None), ("m", "v2"), ("other", "v2"), (None, "v2")])
def test_the_manifest_of_another_version_is_refused_before_its_files_are_read(
    name: str | None, version: str | None
) -> None:
    head = b"".join(line + b"\n" for line in draft().lines()[:2])
    parser = decode.Parser(name, version)
    with pytest.raises(IntegrityError, match="it describes m:v1, asked for was") as caught:
        parser.feed(head)
    assert not isinstance(caught.value, UnsafeInput)


def test_the_manifest_that_was_asked_for_is_accepted() -> None:
    decode.document(draft().document(), name="m", version="v1")


def test_a_card_is_read_from_the_first_bytes_alone() -> None:
    written = draft()
    written.card["labels"] = {"key": "v" * (rules.LABELS_BYTES_MAX - len('{"key":""}'))}
    written.card["module"] = "m" * rules.MODULE_BYTES_MAX
    data = written.document()
    envelope, manifest = decode.document(data)
    assert decode.card(data[: decode.HEAD_BYTES]) == (envelope, manifest.card)
    lines = data.splitlines(keepends=True)
    assert decode.card(b"".join(lines[:2])) == (envelope, manifest.card)


@pytest.mark.parametrize("cut", [0, 1, 100, 200, 300])
def test_a_card_that_is_cut_off_is_refused(cut: int) -> None:
    lines = draft().document().splitlines(keepends=True)
    assert len(lines[0] + lines[1]) > 300
    with pytest.raises(UnsafeInput, match="no card within"):
        decode.card((lines[0] + lines[1])[:cut])


@pytest.mark.parametrize("line", [0, 1])
def test_a_head_line_without_end_is_refused_after_8_kib(line: int) -> None:
    parser = decode.Parser()
    for before in draft().document().splitlines(keepends=True)[:line]:
        parser.feed(before)
    parser.feed(b"{" + b" " * (rules.HEAD_LINE_BYTES_MAX - 1))
    with pytest.raises(UnsafeInput, match="head line is longer"):
        parser.feed(b" ")


def test_more_than_64_mib_are_refused_without_being_kept() -> None:
    parser = decode.Parser()
    for line in draft().document().splitlines(keepends=True)[:2]:
        parser.feed(line)
    tracemalloc.start()
    with pytest.raises(UnsafeInput, match="longer than 67108864 bytes"):
        parser.feed(memoryview(bytearray(rules.MANIFEST_BYTES_MAX)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * rules.MANIFEST_BYTES_MAX  # the buffer of this test alone is one


@pytest.mark.parametrize("nest", [b"[", b"[],", b'{"a":', b"{},", b'"",'])
def test_a_hostile_line_costs_no_more_memory_than_an_honest_one(nest: bytes) -> None:
    line = b'{"blocks":"","leaves":"","path":"x","size":10,"tensors":{"data":10,"table":['
    line += nest * (2_000_000 // len(nest))
    data = b"\n".join(draft().lines()[:2]) + b"\n" + line + b"\n"
    tracemalloc.start()
    with pytest.raises(UnsafeInput):
        decode.document(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(data)


def test_more_than_200_000_entries_are_refused_at_the_first_too_many() -> None:
    parser = decode.Parser()
    written = draft()
    for line in written.lines()[:2]:
        parser.feed(line + b"\n")
    for first in range(0, rules.ENTRIES_MAX, 1000):
        parser.feed(b"".join(b'{"directory":"%06d"}\n' % number for number in range(first, first + 1000)))
    with pytest.raises(UnsafeInput, match="more than 200000 files and directories"):
        parser.feed(b'{"directory":"more"}\n')


@pytest.mark.long
def test_more_than_a_million_tensors_are_refused() -> None:
    written = draft()
    rows = [[f"{number}", "U8", [0], 0, 0, "0" * 32] for number in range(500_001)]
    rows.sort()
    for path in ("a.safetensors", "b.safetensors"):
        written.add(large(path, 10, tensors={"data": 10, "table": rows}))
    with pytest.raises(UnsafeInput, match="more than 1000000 tensors"):
        decode.document(written.document())


def test_a_draft_spells_as_the_format_page_does() -> None:
    """The hand-written writer is the oracle of this folder; the examples of the page keep it honest."""
    assert spelled({"b": [1, "ü\n\x01"], "a": True}) == '{"a":true,"b":[1,"ü\\n\\u0001"]}'.encode()
    assert draft().card["content"] is TRUE
