"""A version goes out and comes back the same, or the store and the target are as they were."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from bentosync import events
from bentosync.errors import (
    BentoMLException,
    Conflict,
    IntegrityError,
    InvalidArgument,
    LocalIOError,
    NoSpace,
    NotFound,
    UnsafeInput,
)
from bentosync.exchange.exporting import export_model
from bentosync.exchange.importing import import_model
from bentosync.formats.archive import kinds
from bentosync.formats.archive.member import Limits
from bentosync.manifest import encode
from bentosync.store.disk import Disk
from bentosync.store.store import Store
from bentosync.tag import Tag
from tests.formats.archive import forging
from tests.store.trees import create, listing, pattern, write

FILES = {"weights.bin": pattern(2_500_000), "d/e/x": b"x", "empty": b"", "\u00fc": b"wide"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "home")
    with store.create("m:v1", labels={"a": "b"}) as model:
        write(Path(model.path), FILES | {"run.sh": b"#!"})
        os.chmod(model.path_of("run.sh"), 0o755)
        Path(model.path_of("hollow/inner")).mkdir(parents=True)
    return store


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other")


def sent(store: Store, target: Path, format: str | None = None, **more: Any) -> Path:
    return export_model(store, "m:v1", str(target), format, **more).path


def remains(store: Store) -> list[Path]:
    """What is staged or thrown away and should not be."""
    return [
        path for folder in (store.layout.staging, store.layout.trash) if folder.is_dir() for path in folder.iterdir()
    ]


@pytest.mark.parametrize("format", kinds.FORMATS)
@pytest.mark.parametrize("compress", [False, True])
def test_export_import_export_gives_the_same_bytes_and_the_same_pin(
    store: Store, other: Store, tmp_path: Path, format: str, compress: bool
) -> None:
    if compress and format in ("tar", "folder"):
        with pytest.raises(InvalidArgument, match="cannot be compressed"):
            sent(store, tmp_path / "x", format, compress=True)
        return
    first = sent(store, tmp_path / "first", format, compress=compress)
    imported = import_model(other, str(first))
    assert imported.outcome == "done"
    assert imported.model.path == str(tmp_path / "other/models/m/v1")
    assert listing(Path(imported.model.path)) == listing(tmp_path / "home/models/m/v1")
    assert os.access(imported.model.path_of("run.sh"), os.X_OK)
    assert other.get("m").tag == Tag("m", "v1")
    assert other.describe(imported.model) == store.describe(store.get("m:v1"))
    assert other.check(imported.model, strength="strong") == []
    second = sent(other, tmp_path / "second", format, compress=compress)
    if format == "folder":
        assert listing(first) == listing(second)
    else:
        assert first.read_bytes() == second.read_bytes()
    assert remains(store) == remains(other) == []


def test_the_format_is_what_the_bytes_say_whatever_the_name(store: Store, other: Store, tmp_path: Path) -> None:
    archive = sent(store, tmp_path / "x.zip").rename(tmp_path / "x.bentomodel")
    for wrong in ("bentomodel", "gz", "folder"):
        with pytest.raises(InvalidArgument, match="it is zip"):
            import_model(other, str(archive), wrong)
    with pytest.raises(ValueError, match="Unsupported format bogus"):
        import_model(other, str(archive), "bogus")
    assert import_model(other, str(archive), "zip").outcome == "done"


def test_what_is_no_archive_is_named(other: Store, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "hollow").mkdir()
    for name in ("text", "pipe"):
        with pytest.raises(InvalidArgument, match="no archive of a known format"):
            import_model(other, str(tmp_path / name))
    with pytest.raises(InvalidArgument, match="is empty"):
        import_model(other, str(tmp_path / "hollow"))
    with pytest.raises(NotFound, match="no such file or folder"):
        import_model(other, str(tmp_path / "missing"))


# --- versions that are there -----------------------------------------------------------------------------------------


def test_an_existing_version_is_refused_kept_or_replaced(store: Store, other: Store, tmp_path: Path) -> None:
    archive = str(sent(store, tmp_path / "x.tar"))
    create(other, "m:v1", {"mine": b"mine"})
    before = listing(tmp_path / "other/models")
    with pytest.raises(Conflict, match=r"^Item 'm:v1' already exists in the store "):
        import_model(other, archive)
    assert import_model(other, archive, existing="skip").outcome == "skipped"
    assert listing(tmp_path / "other/models") == before
    assert import_model(other, archive, existing="replace").outcome == "done"
    assert listing(tmp_path / "other/models/m/v1") == listing(tmp_path / "home/models/m/v1")
    assert remains(other) == []


def test_skipping_reads_only_as_far_as_the_tag(store: Store, other: Store, tmp_path: Path) -> None:
    archive = sent(store, tmp_path / "x.tar")
    import_model(other, str(archive))
    os.truncate(archive, 100_000)
    seen: list[events.Event] = []
    assert import_model(other, str(archive), existing="skip", on_event=seen.append).outcome == "skipped"
    assert isinstance(seen[-1], events.Finished)
    assert seen[-1].outcome == "up-to-date"


def test_a_skipped_version_of_other_content_is_told_about(store: Store, other: Store, tmp_path: Path) -> None:
    archive = str(sent(store, tmp_path / "x.tar"))
    other.describe(create(other, "m:v1", {"mine": b"mine"}))
    seen: list[events.Event] = []
    import_model(other, archive, existing="skip", on_event=seen.append)
    assert [event.message for event in seen if isinstance(event, events.Warned)] == [
        f"m:v1 in the store has other content than {archive}; it is kept"
    ]


@pytest.mark.parametrize("flip", [0.3, 0.9])
def test_a_damaged_archive_replaces_nothing(store: Store, other: Store, tmp_path: Path, flip: float) -> None:
    archive = sent(store, tmp_path / "x.tar")
    data = bytearray(archive.read_bytes())
    data[int(len(data) * flip)] ^= 1
    archive.write_bytes(data)
    create(other, "m:v1", {"mine": b"mine"})
    before = listing(tmp_path / "other/models")
    with pytest.raises(IntegrityError, match=r"'weights.bin' is not what its manifest says: the bytes from \d+ on"):
        import_model(other, str(archive), existing="replace")
    assert listing(tmp_path / "other/models") == before
    assert remains(other) == []


# --- manifests that lie ----------------------------------------------------------------------------------------------


def forged(store: Store, *members: bytes) -> bytes:
    """A tar with the manifest of m:v1 and the members given."""
    body = encode.body(store.describe(store.get("m:v1")))
    head = forging.pax(forging.record(b"comment", b"bentosync-manifest 1/1\n" + body), kind=b"g")
    return head + b"".join(members) + forging.END


def test_files_that_the_manifest_does_not_know_lacks_or_has_otherwise_are_refused(
    store: Store, other: Store, tmp_path: Path
) -> None:
    root = tmp_path / "home/models/m/v1"
    every = {path: data for path, data in listing(root).items() if data is not None}
    modes = {path: 0o755 if path == "run.sh" else 0o644 for path in every}

    def members(**changed: bytes) -> list[bytes]:
        return [
            forging.pax(forging.record(b"path", path.encode()))
            + forging.member(b"x", data, mode=modes.get(path, 0o644))
            for path, data in (every | changed).items()
            if data != b"gone"
        ]

    folder = forging.header(b"hollow/inner/", kind=b"5")
    cases = {
        "does not know the file 'more'": [*members(more=b"x"), folder],
        "lacks": [*members(empty=b"gone"), folder],
        "not what its manifest says: size or mode": [*members(empty=b"x"), folder],
        "it is not what its manifest says": members(),
    }
    for number, (word, parts) in enumerate(cases.items()):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(forged(store, *parts))
        with pytest.raises(IntegrityError, match=word):
            import_model(other, str(path))
    whole = tmp_path / "whole.tar"
    whole.write_bytes(forged(store, *members(), folder))
    assert import_model(other, str(whole)).outcome == "done"


def test_a_manifest_of_another_model_is_refused(store: Store, other: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(forged(store, forging.MODEL))
    with pytest.raises(IntegrityError, match="not what its manifest says"):
        import_model(other, str(path))
    assert remains(other) == []


def test_an_archive_without_a_manifest_is_taken_as_it_is(other: Store, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(forging.xz(forging.tar(forging.member(b"./w", b"123", mode=0o755))))
    model = import_model(other, str(path)).model
    record = other.record(model.tag)
    assert record is not None
    assert [(entry.path, entry.size, entry.executable) for entry in record.manifest.files] == [
        ("model.yaml", len(forging.MODEL_YAML), False), ("w", 3, True),
    ]  # fmt: skip


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_tree_without_model_yaml_needs_a_name(other: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(forging.member(b"config.json", b"{}") + forging.END)
    with pytest.raises(InvalidArgument, match="does not say what it is called"):
        import_model(other, str(path))
    assert import_model(other, str(path), name="bert:v2").model.tag == Tag("bert", "v2")
    automatic = import_model(other, str(path), name="bert").model
    assert automatic.tag.name == "bert"
    assert len(automatic.tag.version or "") == 16
    assert Path(automatic.path_of("config.json")).read_bytes() == b"{}"
    with pytest.raises(Conflict):
        import_model(other, str(path), name="bert:v2")


def test_a_name_must_be_the_one_in_model_yaml(store: Store, other: Store, tmp_path: Path) -> None:
    archive = str(sent(store, tmp_path / "x.tar"))
    for wrong in ("n", "m:v2"):
        with pytest.raises(InvalidArgument, match="holds m:v1"):
            import_model(other, archive, name=wrong)
    with pytest.raises(InvalidArgument, match="latest"):
        import_model(other, archive, name="m:latest")
    assert import_model(other, archive, name="m").model.tag == Tag("m", "v1")


def test_limits_hold_for_the_whole_import(store: Store, other: Store, tmp_path: Path) -> None:
    archive = str(sent(store, tmp_path / "x.tar"))
    with pytest.raises(UnsafeInput, match="more than 3"):
        import_model(other, archive, limits=Limits(entries_max=3))
    assert remains(other) == []


# --- exports that fail -----------------------------------------------------------------------------------------------


class Failing(Disk):
    """A disk on which the call number `at` fails."""

    def __init__(self, at: int, error: int = errno.EIO) -> None:
        self.calls = 0
        self._at = at
        self._error = error

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if (
            name.startswith("_")
            or name in ("calls", "unlink", "remove_tree", "remove_directory")
            or not callable(found)
        ):
            return found
        self.calls += 1
        if self.calls == self._at:
            raise OSError(self._error, os.strerror(self._error))
        return found


@pytest.mark.parametrize("format", ["bentomodel", "zip", "folder"])
def test_an_export_that_fails_anywhere_leaves_the_old_one_and_nothing_else(
    store: Store, tmp_path: Path, format: str
) -> None:
    target = tmp_path / "out" / "x.bentomodel"
    target.parent.mkdir()
    if format != "folder":
        target.write_bytes(b"old")
    for at in range(1, 10):
        before = listing(target.parent)
        disk = Failing(at)
        try:
            sent(store, target, format, disk=disk)
        except LocalIOError:
            after = listing(target.parent)
            # Once renamed it is whole, whatever the sync of the folder says afterwards.
            assert after == before or set(after) - set(before) <= {
                name for name in after if name.startswith(target.name)
            }
            assert not [name for name in after if name.endswith(".partial")]
            if at == 1:
                assert after == before
        else:
            assert disk.calls < at
            break
    else:
        pytest.fail("the export never succeeded")


def test_an_export_of_damaged_bytes_is_refused_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    model = store.get("m:v1")
    path = Path(model.path_of("weights.bin"))
    os.utime(path, (1, 1))
    late = Store(tmp_path / "home", now_ns=lambda: 1 << 62)
    late.describe(model)
    status, data = path.stat(), bytearray(path.read_bytes())
    data[1_500_000] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    entry = next(entry for entry in late.describe(model).files if entry.path == "weights.bin")
    original = pattern(2_500_000)
    # Now the digests on record are those of the damaged bytes; put the original back behind the export's back.
    seen: list[events.Event] = []

    def swap(event: events.Event) -> None:
        seen.append(event)
        if isinstance(event, events.Started):
            path.write_bytes(original)

    with pytest.raises(IntegrityError, match=r"bytes 1048576 to 2097152"):
        export_model(late, "m:v1", str(tmp_path / "x.tar"), on_event=swap)
    assert entry.size == 2_500_000
    assert not [path for path in tmp_path.iterdir() if path.name not in ("home",)]


def test_an_export_that_meets_a_full_disk_leaves_the_old_one(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "out/x.bentomodel"
    target.parent.mkdir()
    target.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(NoSpace):
            sent(store, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert listing(target.parent) == {"x.bentomodel": b"old"}


def test_what_a_killed_export_left_goes_a_day_later(store: Store, tmp_path: Path) -> None:
    dead, alive, folder = (tmp_path / f".bentosync-{number:08x}.partial" for number in range(3))
    dead.write_bytes(b"half")
    alive.write_bytes(b"half")
    write(folder, {"d/x": b"x"})
    for path in (dead, folder):
        os.utime(path, (1, 1))
    sent(store, tmp_path / "x.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == [alive.name, "home", "x.tar"]


def test_a_folder_is_never_replaced(store: Store, tmp_path: Path) -> None:
    target = sent(store, tmp_path / "x", "folder")
    before = listing(target)
    inside = sent(store, target, "folder")
    assert inside == target / "m-v1"
    with pytest.raises(Conflict, match="never replaced"):
        sent(store, target, "folder")
    assert {path: data for path, data in listing(target).items() if not path.startswith("m-v1")} == before


def test_targets_that_cannot_be_are_named(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(InvalidArgument, match="neither a regular file nor a folder"):
        sent(store, tmp_path / "pipe.tar")
    with pytest.raises(InvalidArgument, match="is not a folder"):
        sent(store, tmp_path / "no/x.tar")
    made = export_model(store, "m:v1", f"{tmp_path}/new/deep/")
    assert made.path == tmp_path / "new/deep/m-v1.bentomodel"
    assert made.path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_an_export_through_a_link_replaces_what_it_names(store: Store, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "x.tar").symlink_to("real")
    sent(store, tmp_path / "x.tar")
    assert (tmp_path / "x.tar").is_symlink()
    assert (tmp_path / "real").stat().st_size > 2_500_000


def test_an_import_that_fails_anywhere_shows_nothing_and_works_the_next_time(store: Store, tmp_path: Path) -> None:
    archive = str(sent(store, tmp_path / "x.bentomodel"))
    for at in range(1, 60):
        home = tmp_path / f"home{at}"
        disk = Failing(at, errno.ENOSPC)
        try:
            import_model(Store(home, disk=disk), archive)
        except BentoMLException as error:
            assert isinstance(error, NoSpace)
            fresh = Store(home)
            if fresh.find(Tag("m", "v1")) is None:
                assert import_model(fresh, archive).outcome == "done"
            assert listing(Path(fresh.get("m").path)) == listing(tmp_path / "home/models/m/v1")
            assert remains(fresh) == []
        if disk.calls < at:
            return
    pytest.fail("the import never succeeded")


def test_progress_ends_at_the_total_and_never_shrinks(store: Store, other: Store, tmp_path: Path) -> None:
    for act in (
        lambda see: export_model(store, "m:v1", str(tmp_path / "x.bentomodel"), on_event=see),
        lambda see: import_model(other, str(tmp_path / "x.bentomodel"), on_event=see),
    ):
        seen: list[events.Event] = []
        act(seen.append)
        started = next(event for event in seen if isinstance(event, events.Started))
        steps = [event.done_bytes for event in seen if isinstance(event, events.Progress)]
        assert (started.tag, steps) == ("m:v1", sorted(steps))
        assert max(steps) <= started.total_bytes
        finished = seen[-1]
        assert isinstance(finished, events.Finished)
        assert (finished.files, finished.digest) == (6, store.describe(store.get("m:v1")).pin)


def test_no_two_exports_share_a_name_while_they_are_written(store: Store, tmp_path: Path) -> None:
    names: set[str] = set()

    def look(event: events.Event) -> None:
        if isinstance(event, events.FileDone):
            names.update(path.name for path in tmp_path.iterdir() if path.name.endswith(".partial"))

    for _ in range(2):
        sent(store, tmp_path / "x.tar", on_event=look)
    assert len(names) == 2


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
