"""What is remembered, and what is believed of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentosync.errors import IntegrityError, InvalidModel, NotFound
from bentosync.manifest.values import Manifest
from bentosync.store import record
from bentosync.store.proof import Damage
from bentosync.store.record import Origin, PartChecksums, Record, Stamp
from bentosync.store.store import Store
from bentosync.tag import Tag
from tests.store.trees import SECOND, create, pattern

MIB = 1 << 20


class Clock:
    """A time of day that tests set, relative to the newest file."""

    def __init__(self) -> None:
        self.ahead = 60 * SECOND

    def __call__(self) -> int:
        import time

        return time.time_ns() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store(tmp_path, now_ns=clock)


def read_bytes(store: Store, tag: str) -> int:
    """Bytes that describing reads, from what the files were opened for: counted by a store whose files are gone."""
    found = store.record(Tag.from_str(tag))
    return 0 if found is None else sum(entry.size for entry in found.manifest.files if entry.path not in found.stamps)


def test_create_remembers_digests_that_describe_then_confirms_without_reading(store: Store) -> None:
    model = create(store, "m:v1", {"a.bin": pattern(3 * MIB), "b": b""})
    known = store.record(Tag("m", "v1"))
    assert known is not None
    assert set(known.stamps) == {"a.bin", "b", "model.yaml"}
    path = Path(model.path_of("a.bin"))
    stamp = os.stat(path)
    with path.open("r+b") as file:
        file.write(b"changed!")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    faked = Record(known.manifest, {**known.stamps, "a.bin": Stamp.of(os.stat(path))})
    store.layout.record_path(model.tag).write_bytes(record.dumps(faked))
    assert store.describe(model) == known.manifest, "a stamp that holds must save the read"
    store.layout.record_path(model.tag).write_bytes(record.dumps(known))
    assert store.describe(model) != known.manifest, "ctime gives a change away even when mtime was put back"


def test_a_stamp_younger_than_two_seconds_when_hashed_is_not_remembered(store: Store, clock: Clock) -> None:
    clock.ahead = 0
    model = create(store, "m:v1")
    known = store.record(model.tag)
    assert known is not None
    assert known.stamps == {}
    clock.ahead = 60 * SECOND
    store.describe(model)
    again = store.record(model.tag)
    assert again is not None
    assert set(again.stamps) == {"model.yaml", "weights.bin"}


@pytest.mark.parametrize(
    ("age", "settled"), [(0, False), (2 * SECOND - 1, False), (2 * SECOND, True), (-SECOND, False)]
)
def test_two_seconds_is_the_edge_and_the_future_is_young(age: int, settled: bool) -> None:
    assert Stamp(1, 1, 100 * SECOND, 0).settled(100 * SECOND + age) is settled
    assert Stamp(1, 1, 0, 100 * SECOND).settled(100 * SECOND + age) is settled


def test_the_record_file_is_as_specified(store: Store) -> None:
    model = create(store, "m:v1", {"a": b"x"})
    data = store.layout.record_path(model.tag).read_bytes()
    head, _, body = data.partition(b"\n")
    found = store.record(model.tag)
    assert found is not None
    status = os.stat(model.path_of("a"))
    stamp = f'"a":[{status.st_ino},{status.st_size},{status.st_mtime_ns},{status.st_ctime_ns}]'.encode()
    assert head.startswith(b'{"format":1,"manifest":"' + found.manifest.pin.encode() + b'","stamps":{' + stamp)
    import blake3

    assert blake3.blake3(body).hexdigest() == found.manifest.digest


def test_a_record_survives_its_own_bytes(store: Store) -> None:
    manifest: Manifest = store.describe(create(store, "m:v1"))
    for origin in (None, Origin("s3://b/p", "2026-11-22T10:00:00+00:00")):
        whole = Record(manifest, {"weights.bin": Stamp(1, 2, 3, 4)}, origin)
        assert record.loads(record.dumps(whole)) == whole


@given(cut=st.integers(0, 2000), flip=st.integers(0, 2000), bit=st.integers(0, 7))
def test_a_torn_or_flipped_record_is_none_or_the_same_manifest(cut: int, flip: int, bit: int) -> None:
    data = bytearray(WHOLE)
    data[flip % len(data)] ^= 1 << bit
    for damaged in (bytes(WHOLE[: cut % len(WHOLE)]), bytes(data)):
        found = record.loads(damaged)
        expected = record.loads(WHOLE)
        assert expected is not None
        assert found is None or found.manifest == expected.manifest
        vouched = record.vouched(damaged)
        assert vouched is None or vouched.manifest == expected.manifest


def test_what_a_load_needs_is_the_same_without_the_manifest(store: Store) -> None:
    model = create(store, "m:v1", {"a": b"x"})
    whole, vouched = store.record(model.tag), store.vouched(model.tag)
    assert whole is not None
    assert vouched is not None
    assert (vouched.digest, vouched.stamps, vouched.manifest) == (
        whole.manifest.digest,
        whole.stamps,
        whole.manifest,
    )


def _whole() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as home:
        store = Store(Path(home))
        return store.layout.record_path(create(store, "m:v1").tag).read_bytes()


WHOLE = _whole()


@pytest.mark.parametrize("garbage", [b"", b"\n", b"{}\n", b"[1]\n", b'{"format":2}\n', b"[" * 100_000, b"\xff\n"])
def test_a_record_that_is_none_costs_a_read_and_no_more(store: Store, garbage: bytes) -> None:
    model = create(store, "m:v1")
    manifest = store.describe(model)
    store.layout.record_path(model.tag).write_bytes(garbage)
    assert store.record(model.tag) is None
    assert store.describe(model) == manifest
    assert store.record(model.tag) is not None


def test_a_record_of_another_version_is_not_believed(store: Store) -> None:
    one, two = create(store, "m:v1"), create(store, "m:v2")
    store.layout.record_path(two.tag).write_bytes(store.layout.record_path(one.tag).read_bytes())
    assert store.record(two.tag) is None
    assert store.vouched(two.tag) is None


def test_a_file_that_changes_while_it_is_read_is_not_described(store: Store) -> None:
    model = create(store, "m:v1", {"a.bin": pattern(20 * MIB)})
    store.layout.record_path(model.tag).unlink()

    def meddle(count: int) -> None:
        with Path(model.path_of("a.bin")).open("r+b") as file:
            file.seek(19 * MIB)
            file.write(b"!")

    with pytest.raises(IntegrityError, match="changed while it was read"):
        store.describe(model, progress=meddle)


@pytest.mark.parametrize("swap", ["link", "pipe", "folder"])
def test_a_file_swapped_for_something_else_is_refused_and_never_followed(
    store: Store, tmp_path: Path, swap: str
) -> None:
    model = create(store, "m:v1", {"a": pattern(10)})
    path = Path(model.path_of("a"))
    path.unlink()
    if swap == "link":
        (tmp_path / "secret").write_bytes(b"secret")
        path.symlink_to(tmp_path / "secret")
    elif swap == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    if swap == "folder":
        assert {(damage.path, damage.kind) for damage in store.check(model, strength="full")} == {
            ("a", "missing"),
            ("a", "extra"),
        }
        return
    with pytest.raises(InvalidModel):
        store.describe(model)
    with pytest.raises(InvalidModel):
        store.check(model, strength="full")


# --- check ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", ["full", "strong"])
def test_check_finds_every_flipped_byte_and_says_where(store: Store, strength: str) -> None:
    model = create(store, "m:v1", {"a.bin": pattern(11 * MIB + 5), "b.bin": pattern(2 * MIB, 1), "empty": b""})
    assert store.check(model, strength=strength) == []  # type: ignore[arg-type]
    for offset in (0, 5 * MIB, 6 * MIB + 1, 11 * MIB + 4):
        with Path(model.path_of("a.bin")).open("r+b") as file:
            file.seek(offset)
            old = file.read(1)
            file.seek(offset)
            file.write(bytes([old[0] ^ 1]))
    assert store.check(model, strength=strength) == [  # type: ignore[arg-type]
        Damage("a.bin", 0, MIB, "bytes"),
        Damage("a.bin", 5 * MIB, 7 * MIB, "bytes"),
        Damage("a.bin", 11 * MIB, 11 * MIB + 5, "bytes"),
    ]


def test_check_reports_missing_extra_short_long_and_mode(store: Store) -> None:
    model = create(
        store, "m:v1", {name: pattern(2 * MIB) for name in ("gone", "short", "long", "mode")} | {"d/keep": b""}
    )
    os.mkdir(model.path_of("new-folder"))
    os.unlink(model.path_of("gone"))
    os.truncate(model.path_of("short"), MIB + 1)
    os.chmod(model.path_of("mode"), 0o755)
    with Path(model.path_of("long")).open("ab") as file:
        file.write(b"more")
    Path(model.path_of("extra")).write_bytes(b"123")
    found = store.check(model, strength="full")
    assert found == [
        Damage("extra", 0, 3, "extra"),
        Damage("gone", 0, 2 * MIB, "missing"),
        Damage("long", 2 * MIB, 2 * MIB + 4, "size"),
        Damage("mode", 0, 0, "mode"),
        Damage("new-folder", 0, 0, "extra"),
        Damage("short", MIB, MIB + 1, "bytes"),
        Damage("short", MIB + 1, 2 * MIB, "size"),
    ]


def test_strong_catches_what_a_forged_block_digest_hides(store: Store) -> None:
    from msgspec.structs import replace

    from bentosync.manifest.digests import packed

    model = create(store, "m:v1", {"a": pattern(2 * MIB)})
    known = store.record(model.tag)
    assert known is not None
    with Path(model.path_of("a")).open("r+b") as file:
        file.write(b"forged")
    forged = packed(Path(model.path_of("a")).read_bytes())[1]
    entries = tuple(replace(e, blocks=forged) if e.path == "a" else e for e in known.manifest.files)
    manifest = replace(known.manifest, files=entries)
    from bentosync.store import proof

    assert proof.check(Path(model.path), manifest, "full", proof.silent)[0] == []
    assert proof.check(Path(model.path), manifest, "strong", proof.silent)[0] == [Damage("a", 0, 2 * MIB, "bytes")]


def test_check_without_a_record_says_that_nothing_is_known(store: Store) -> None:
    model = create(store, "m:v1")
    store.layout.record_path(model.tag).unlink()
    with pytest.raises(NotFound, match="no digests of m:v1 are remembered"):
        store.check(model, strength="full")


def test_a_touched_but_whole_file_is_trusted_again_after_a_check(store: Store) -> None:
    model = create(store, "m:v1")
    os.utime(model.path_of("weights.bin"), (1, 1))
    assert store.check(model, strength="full") == []
    known = store.record(model.tag)
    assert known is not None
    assert known.stamps["weights.bin"].mtime_ns == SECOND


def test_progress_counts_every_byte_once(store: Store) -> None:
    model = create(store, "m:v1", {"a": pattern(9 * MIB + 1), "b": b""})
    size = sum(entry.size for entry in store.describe(model).files)
    for run in (
        lambda add: store.describe(model, progress=add),
        lambda add: store.check(model, strength="full", progress=add),
    ):
        counts: list[int] = []
        run(counts.append)
        assert sum(counts) == size


PARTS = PartChecksums("crc64nvme", 16 << 20, bytes(range(16)))


def with_parts(store: Store, tag: Tag, parts: dict[str, PartChecksums]) -> Record:
    known = store.record(tag)
    assert known is not None
    store.layout.record_path(tag).write_bytes(record.dumps(Record(known.manifest, known.stamps, known.origin, parts)))
    return known


def test_checksums_of_parts_are_remembered_beside_the_stamps(store: Store) -> None:
    tag = create(store, "m:v1", {"a.bin": pattern(MIB)}).tag
    with_parts(store, tag, {"a.bin": PARTS})
    found, vouched = store.record(tag), record.vouched(store.layout.record_path(tag).read_bytes())
    assert found is not None and vouched is not None
    assert found.parts == vouched.parts == {"a.bin": PARTS}


def test_a_record_without_checksums_of_parts_is_as_it_was_before_there_were_any(store: Store) -> None:
    tag = create(store, "m:v1", {"a.bin": pattern(MIB)}).tag
    written = store.layout.record_path(tag).read_bytes()
    assert b'"parts"' not in written
    found = record.loads(written)
    assert found is not None and found.parts == {}
    assert record.dumps(found) == written


def test_checksums_of_parts_go_with_the_stamp_of_their_file(store: Store) -> None:
    model = create(store, "m:v1", {"a.bin": pattern(MIB), "b.bin": pattern(2 * MIB)})
    with_parts(store, model.tag, {"a.bin": PARTS, "b.bin": PARTS})
    assert store.check(model.tag, strength="full") == []
    assert store.record(model.tag).parts == {"a.bin": PARTS, "b.bin": PARTS}  # type: ignore[union-attr]
    path = Path(model.path_of("a.bin"))
    path.touch()
    assert store.check(model.tag, strength="full") == []
    assert store.record(model.tag).parts == {"b.bin": PARTS}  # type: ignore[union-attr]
    path.touch()
    store.describe(model)
    assert store.record(model.tag).parts == {"b.bin": PARTS}  # type: ignore[union-attr]


def test_what_a_push_finds_out_is_added_to_what_is_remembered(store: Store) -> None:
    model = create(store, "m:v1", {"a.bin": pattern(MIB), "b.bin": pattern(2 * MIB)})
    known = with_parts(store, model.tag, {"a.bin": PARTS})
    digested = {entry.path: (entry, known.stamps[entry.path]) for entry in known.manifest.files}
    other = PartChecksums("crc32", 32 << 20, b"1234")
    store.remember(model, digested, known.manifest.directories, {"b.bin": other, "gone.bin": other})
    assert store.record(model.tag).parts == {"a.bin": PARTS, "b.bin": other}  # type: ignore[union-attr]
    unsettled = digested | {"b.bin": (digested["b.bin"][0], None)}
    store.remember(model, unsettled, known.manifest.directories, {"b.bin": other})
    assert store.record(model.tag).parts == {"a.bin": PARTS}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "bad", ['{"a.bin":1}', '{"a.bin":["crc32",1]}', '{"a.bin":["crc32",1,"*"]}', "[]", '{"a.bin":["x","y","AAAA"]}']
)
def test_a_record_whose_checksums_of_parts_make_no_sense_is_as_good_as_none(store: Store, bad: str) -> None:
    tag = create(store, "m:v1", {"a.bin": pattern(MIB)}).tag
    path = store.layout.record_path(tag)
    path.write_bytes(path.read_bytes().replace(b',"stamps":', f',"parts":{bad},"stamps":'.encode(), 1))
    assert store.record(tag) is None
    assert record.vouched(path.read_bytes()) is None
