"""Composing: what comes out is canonical, and what a reader would refuse is never made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from bentosync.errors import Conflict, InvalidArgument, UnsafeInput
from bentosync.manifest import build, decode, encode, rules
from bentosync.manifest.values import FileEntry, Manifest, Tensor, TensorTable
from tests.manifest.drafts import MIB, blocks, draft, leaves, noise

YAML = b"name: m\nversion: v1\n"


def entry(path: str, data: bytes, *, executable: bool = False) -> FileEntry:
    return FileEntry(path=path, size=len(data), executable=executable, leaves=leaves(data), blocks=blocks(data))


def large(path: str, size: int) -> FileEntry:
    leaf_digests, block_digests = noise(1, 32 * -(-size // (8 * MIB))), noise(2, 8 * -(-size // MIB))
    return FileEntry(path=path, size=size, executable=False, leaves=leaf_digests, blocks=block_digests)


def compose(files: Mapping[str, bytes], *more: FileEntry, directories: Iterable[str] = (), **card: Any) -> Manifest:
    return build.compose(
        **{
            "name": "m",
            "version": "v1",
            "created": "2026-11-22T09:59:00.123456+00:00",
            "module": "bentoml.transformers",
            "labels": {},
            **card,
        },
        files=[*(entry(path, data) for path, data in files.items()), *more],
        directories=directories,
        read=files.__getitem__,
    )


def test_a_composed_manifest_is_the_one_written_by_hand() -> None:
    tables = [
        Tensor(name, dtype, tuple(shape), begin, end, bytes.fromhex(fingerprint))
        for name, dtype, shape, begin, end, fingerprint in draft().rows
    ]
    model = replace(large("model.safetensors", 201_000), tensors=TensorTable(data_offset=1000, tensors=tuple(tables)))
    script = entry("dir/run.sh", noise(4, 50), executable=True)
    small = {"model.yaml": YAML, "dir/void": b"", "config.json": noise(3, 300), "dir/run.sh": noise(4, 50)}
    manifest = build.compose(
        name="m",
        version="v1",
        created="2026-11-22T09:59:00.123456+00:00",
        module="bentoml.transformers",
        labels={"stage": "dev", "owner": "Änne"},
        files=[model, script, *(entry(path, small[path]) for path in list(small)[:3]), large("big.bin", 17 * MIB + 5)],
        directories=["empty/two", "empty/one"],
        read=small.__getitem__,
    )
    assert encode.body(manifest) == draft().body()
    assert decode.body(draft().body()) == manifest


def test_the_order_of_files_and_directories_does_not_matter() -> None:
    files = {"b": b"1", "a/c": b"2", "model.yaml": YAML, "ä": b"3"}
    forth = compose(files, directories=["y", "x"])
    back = compose(dict(reversed(files.items())), directories=["x", "y"])
    assert forth == back
    assert [file.path for file in forth.files] == ["a/c", "b", "model.yaml", "ä"]


def test_the_content_id_ignores_name_version_and_labels() -> None:
    files = {"model.yaml": YAML, "a": b"1"}
    this = compose(files)
    other = compose(files, name="n", version="v2", labels={"a": "b"}, module="", created="2020-01-01T00:00:00+00:00")
    assert this.card.content == other.card.content
    assert this.digest != other.digest


@pytest.mark.parametrize(
    "files",
    [{"model.yaml": YAML, "a": b"2"}, {"model.yaml": YAML, "b": b"1"}, {"model.yaml": YAML}, {"model.yaml": b"x"}],
)
def test_the_content_id_is_another_for_another_tree(files: dict[str, bytes]) -> None:
    assert compose(files).card.content != compose({"model.yaml": YAML, "a": b"1"}).card.content


def test_the_executable_bit_and_empty_directories_are_part_of_the_content() -> None:
    plain = compose({"model.yaml": YAML, "a": b"1"})
    files = {"model.yaml": YAML, "a": b"1"}
    assert compose(files, directories=["d"]).card.content != plain.card.content
    executable = build.compose(
        name="m", version="v1", created=plain.card.created, module="", labels={}, directories=[],
        read=files.__getitem__, files=[entry("a", b"1", executable=True), entry("model.yaml", YAML)],
    )  # fmt: skip
    assert executable.card.content != plain.card.content


def test_directories_that_have_entries_are_left_out() -> None:
    manifest = compose({"model.yaml": YAML, "a/b/c": b"1"}, directories=["a", "a/b", "a/x", "d", "d/e", "f"])
    assert manifest.directories == ("a/x", "d/e", "f")


def test_small_files_go_inline_in_path_order_while_they_fit() -> None:
    files = {f"{number:02}": noise(number, 65_536) for number in range(17)} | {"model.yaml": YAML}
    manifest = compose(files, large("99", 65_537))
    inline = [file.path for file in manifest.files if file.inline is not None]
    assert inline == [*sorted(files)[:15], "model.yaml"]  # the sixteenth does not fit beside model.yaml
    assert all(file.inline == files[file.path] for file in manifest.files if file.inline is not None)


def test_only_files_that_go_inline_are_read() -> None:
    read: list[str] = []

    def reading(path: str) -> bytes:
        read.append(path)
        return YAML

    build.compose(
        name="m", version="v1", created="2026-11-22", module="", labels={}, directories=[], read=reading,
        files=[large("z", 65_537), entry("model.yaml", YAML), entry("empty", b"")],
    )  # fmt: skip
    assert read == ["model.yaml"]


@pytest.mark.parametrize("now", [b"", YAML[:-1], YAML + b"x", YAML[:-1] + b"x"])
def test_a_file_that_changed_since_it_was_digested_is_a_conflict(now: bytes) -> None:
    with pytest.raises(Conflict, match=r"'model.yaml' changed"):
        build.compose(
            name="m", version="v1", created="2026-11-22", module="", labels={}, directories=[],
            files=[entry("model.yaml", YAML)], read=lambda path: now,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("created", "kept"),
    [
        ("2026-11-22T09:59:00.123456+00:00", "2026-11-22T09:59:00.123456+00:00"),
        ("2026-11-22T10:59:00.123456+01:00", "2026-11-22T09:59:00.123456+00:00"),
        ("2026-11-22T09:59:00Z", "2026-11-22T09:59:00+00:00"),
        ("2026-11-22 09:59:00", "2026-11-22T09:59:00+00:00"),
        ("2026-11-22", "2026-11-22T00:00:00+00:00"),
    ],
)
def test_the_creation_time_is_kept_in_utc(created: str, kept: str) -> None:
    assert compose({"model.yaml": YAML}, created=created).card.created == kept


@pytest.mark.parametrize("created", ["", "now", "2026-13-01", "0001-01-01T00:00:00+14:00", "\ud800"])
def test_a_creation_time_that_is_none_is_the_callers_fault(created: str) -> None:
    with pytest.raises(InvalidArgument, match="creation time"):
        compose({"model.yaml": YAML}, created=created)


def test_labels_and_module_that_are_too_long_for_a_card_are_left_out() -> None:
    fits = {"key": "v" * (rules.LABELS_BYTES_MAX - len('{"key":""}'))}
    assert compose({"model.yaml": YAML}, labels=fits).card.labels == tuple(fits.items())
    assert compose({"model.yaml": YAML}, labels={"key": fits["key"] + "v"}).card.labels == ()
    assert compose({"model.yaml": YAML}, module="m" * 1024).card.module == "m" * 1024
    assert compose({"model.yaml": YAML}, module="m" * 1025).card.module == ""


REFUSED: dict[str, dict[str, Any]] = {
    "no model.yaml": {"files": {"a": b"1"}},
    "a model.yaml over 1 MiB": {"files": {"model.yaml": b"y" * (MIB + 1)}},
    "a path that leaves the tree": {"files": {"model.yaml": YAML, "../a": b"1"}},
    "a path that is not Unicode": {"files": {"model.yaml": YAML, "a\udcff": b"1"}},
    "a directory that is not Unicode": {"files": {"model.yaml": YAML}, "directories": ["a\udcff"]},
    "a directory that leaves the tree": {"files": {"model.yaml": YAML}, "directories": [".."]},
    "paths that collide": {"files": {"model.yaml": YAML, "A": b"1", "a": b"2"}},
    "a file that is also a directory": {"files": {"model.yaml": YAML, "a": b"1"}, "directories": ["a"]},
    "a file in a directory of another case": {"files": {"model.yaml": YAML, "A/b": b"1"}, "directories": ["a"]},
    "a name outside the grammar": {"files": {"model.yaml": YAML}, "name": "M"},
    "the version latest": {"files": {"model.yaml": YAML}, "version": "latest"},
    "labels that are not Unicode": {"files": {"model.yaml": YAML}, "labels": {"a": "\ud800"}},
    "a module that is not Unicode": {"files": {"model.yaml": YAML}, "module": "\ud800"},
}


@pytest.mark.parametrize("tree", REFUSED.values(), ids=REFUSED.keys())
def test_what_a_reader_refuses_is_not_composed(tree: dict[str, Any]) -> None:
    files = tree["files"]
    with pytest.raises(UnsafeInput):
        compose(files, **{key: value for key, value in tree.items() if key != "files"})


@pytest.mark.parametrize(
    "file",
    [
        replace(large("h", MIB + 1), blocks=b"8 bytes."),
        replace(large("h", MIB + 1), leaves=b""),
        replace(large("h", MIB), size=1 << 53),
        replace(large("h", MIB), tensors=TensorTable(10, ())),
        replace(large("h.safetensors", MIB), tensors=TensorTable(10, ())),
        replace(large("h.safetensors", MIB), tensors=TensorTable(MIB - 8, (Tensor("a", "U8", (9,), 0, 8, b"f" * 16),))),
    ],
)
def test_an_entry_that_cannot_be_true_is_not_composed(file: FileEntry) -> None:
    with pytest.raises(UnsafeInput, match="file 'h"):
        compose({"model.yaml": YAML}, file)


def test_a_manifest_over_64_mib_is_not_composed() -> None:
    with pytest.raises(UnsafeInput, match="the manifest has"):
        compose({"model.yaml": YAML}, large("h", 5_000_000 * MIB))
