"""One suite for every kind of storage, against a server that really speaks its protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from bentosync import events, models
from bentosync.errors import (
    AuthError,
    BentoMLException,
    Conflict,
    IntegrityError,
    InvalidArgument,
    NotFound,
    UnsafeInput,
)
from bentosync.exchange import place as places
from bentosync.exchange.exporting import export_model
from bentosync.exchange.external.location import Location
from bentosync.exchange.importing import import_model
from bentosync.settings import Settings
from bentosync.store.store import Store
from tests.exchange.external.places import WRITABLE, Place
from tests.formats.archive import forging
from tests.store.trees import listing

pytestmark = [
    # gcsfs hands aiohttp its chunks as they are; that is gcsfs's to change.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
    # WsgiDAV forgets the file of a client that went away.
    pytest.mark.filterwarnings(r"ignore:[\s\S]*\.partial:pytest.PytestUnraisableExceptionWarning"),
]

everywhere = pytest.mark.parametrize("there", WRITABLE, indirect=True)


def at(url: str) -> Location:
    found = places.of(url)
    assert isinstance(found, Location)
    return found


def staged(store: Store) -> list[Path]:
    return list(store.layout.staging.iterdir()) if store.layout.staging.is_dir() else []


@everywhere
@pytest.mark.parametrize("format", ["bentomodel", "zip", "zst"])
def test_what_went_out_comes_back_the_same_by_the_url_that_was_returned(
    there: Place, store: Store, other: Store, format: str
) -> None:
    url = models.export_model("m:v1", there.url("deep/out/"), format, _model_store=store)
    assert list(there.stored()) == [f"deep/out/m-v1.{format}"]
    model = models.import_model(url, _model_store=other)
    assert listing(Path(model.path)) == listing(Path(store.get("m").path))
    assert other.describe(model).pin == store.describe(store.get("m")).pin
    assert staged(other) == []


@everywhere
def test_an_archive_in_other_storage_is_byte_for_byte_the_local_one(there: Place, store: Store, tmp_path: Path) -> None:
    export_model(store, "big:v1", at(there.url("x.tar")))
    export_model(store, "big:v1", str(tmp_path / "x.tar"))
    assert there.stored()["x.tar"] == (tmp_path / "x.tar").read_bytes()


@everywhere
def test_a_folder_goes_file_by_file_and_is_never_replaced(there: Place, store: Store, other: Store) -> None:
    done = export_model(store, "plain:v1", at(there.url("out/m")), "folder")
    assert sorted(there.stored()) == ["out/m/d/e/x y", "out/m/model.yaml", "out/m/weights.bin", "out/m/\u00fc"]
    model = import_model(other, at(done.place)).model
    assert other.describe(model).pin == store.describe(store.get("plain")).pin
    into = export_model(store, "plain:v1", at(there.url("out")), "folder")
    assert into.shown.endswith("/out/plain-v1"), "a folder that is there is a folder to put it in"
    before = there.stored()
    with pytest.raises(Conflict, match="never replaced"):
        export_model(store, "plain:v1", at(there.url("out/")), "folder")
    assert there.stored() == before


@everywhere
def test_an_older_archive_is_replaced_once_the_new_one_is_whole(there: Place, store: Store, other: Store) -> None:
    export_model(store, "big:v1", at(there.url("x.tar")))
    old = there.stored()

    def fail(event: events.Event) -> None:
        if isinstance(event, events.Progress) and event.done_bytes > event.total_bytes * 0.95:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_model(store, "big:v1", at(there.url("x.tar")), on_event=fail)
    assert there.stored() == old, "and nothing else is there"
    export_model(store, "m:v1", at(there.url("x.tar")))
    assert import_model(other, at(there.url("x.tar"))).model.tag.name == "m"


@everywhere
def test_an_export_that_stops_leaves_nothing(there: Place, store: Store) -> None:
    def fail(event: events.Event) -> None:
        if isinstance(event, events.Progress) and event.done_bytes > event.total_bytes * 0.95:
            raise KeyboardInterrupt

    for format in ("bentomodel", "folder"):
        with pytest.raises(KeyboardInterrupt):
            export_model(store, "big:v1", at(there.url("out/x")), format, on_event=fail)
        assert there.stored() == {}
    if there.cloud is not None and there.cloud.port and "upload_id" in str(there.cloud.requests):
        assert there.cloud.sessions == {}, "a resumable upload that nobody will end was cancelled"


@everywhere
def test_what_is_not_there_and_who_may_not_come_in_is_said_with_no_secret(
    there: Place, store: Store, other: Store
) -> None:
    with pytest.raises(NotFound, match="no such file or folder"):
        import_model(other, at(there.url("no/such.tar")))
    for call in (
        lambda: import_model(other, at(there.wrong("x.tar"))),
        lambda: export_model(store, "m:v1", at(there.wrong("x.tar"))),
    ):
        with pytest.raises(AuthError) as caught:
            call()
        assert "swordfish" not in f"{caught.value.message} {caught.value.hint}"
    assert there.stored() == {}


@everywhere
@pytest.mark.parametrize("format", ["tar", "zip"])
def test_an_archive_that_is_not_whole_or_not_true_is_refused(
    there: Place, store: Store, other: Store, format: str, tmp_path: Path
) -> None:
    local = tmp_path / "x"
    export_model(store, "m:v1", str(local), format)
    data = local.read_bytes()
    flipped = bytearray(data)
    flipped[data.index((8192).to_bytes(8, "big"))] ^= 1
    for name, wrong in (("short", data[: len(data) // 2]), ("flipped", bytes(flipped)), ("noise", b"\1" * 5000)):
        put(there, name, wrong)
        with pytest.raises((UnsafeInput, IntegrityError, InvalidArgument)):
            import_model(other, at(there.url(name)))
    assert other.list() == []
    assert staged(other) == []


@everywhere
def test_a_hostile_archive_is_refused_as_a_local_one_is(there: Place, other: Store, tmp_path: Path) -> None:
    hostile = [
        forging.MODEL + forging.member(b"../../escaped", b"x") + forging.END,
        forging.MODEL + forging.header(b"w", kind=b"1") + forging.END,
        forging.MODEL + forging.member(b"w", b"x") + forging.member(b"w", b"y") + forging.END,
    ]
    for number, data in enumerate(hostile):
        put(there, f"{number}", data)
        with pytest.raises(UnsafeInput):
            import_model(other, at(there.url(f"{number}")))
    assert other.list() == []
    assert not (tmp_path / "escaped").exists()


@everywhere
def test_an_existing_version_is_refused_kept_or_replaced_as_it_is_locally(
    there: Place, store: Store, other: Store
) -> None:
    url = at(export_model(store, "m:v1", at(there.url("x.tar"))).place)
    import_model(other, url)
    with pytest.raises(Conflict, match="already exists"):
        import_model(other, url)
    assert import_model(other, url, existing="skip").outcome == "skipped"
    assert import_model(other, url, existing="replace").outcome == "done"


@everywhere
def test_progress_ends_at_the_total_and_never_shrinks(there: Place, store: Store, other: Store) -> None:
    seen: list[events.Event] = []
    done = export_model(store, "m:v1", at(there.url("x.bentomodel")), on_event=seen.append)
    import_model(other, at(done.place), on_event=seen.append)
    for operation in ("export", "import"):
        steps = [
            event.done_bytes for event in seen if isinstance(event, events.Progress) and event.operation == operation
        ]
        assert steps == sorted(steps)
        assert steps[-1] > 300_000
    finished = [event for event in seen if isinstance(event, events.Finished)]
    assert [event.digest for event in finished] == [done.manifest.pin] * 2
    assert all("hush" not in f"{event}" and "good-token" not in f"{event}" for event in seen)
    assert "hush" not in repr(done)


@everywhere
def test_what_is_lost_in_a_folder_is_said(there: Place, store: Store) -> None:
    seen: list[events.Event] = []
    export_model(store, "m:v1", at(there.url("m")), "folder", on_event=seen.append)
    assert any(isinstance(event, events.Warned) and "executable bits" in event.message for event in seen)


@pytest.mark.parametrize("there", ["gs", "dropbox", "ftp"], indirect=True)
def test_a_download_that_breaks_goes_on_behind_what_arrived(
    there: Place, store: Store, other: Store, impatient: Settings, quick_gcsfs: None
) -> None:
    url = at(export_model(store, "big:v1", at(there.url("x.tar"))).place)
    if there.ftp is not None:
        there.ftp.break_after = 5 << 20
    else:
        assert there.cloud is not None
        there.cloud.break_down_after = 5 << 20
    model = import_model(other, url, settings=impatient).model
    assert other.describe(model).pin == store.describe(store.get("big")).pin
    assert (there.ftp or there.cloud).broke  # type: ignore[union-attr]


@pytest.mark.parametrize("there", ["gs", "dropbox", "ftp"], indirect=True)
def test_an_upload_into_a_server_that_dies_fails_and_leaves_nothing_that_looks_whole(
    there: Place, store: Store, impatient: Settings, quick_gcsfs: None
) -> None:
    if there.ftp is not None:
        there.ftp.break_after = 5 << 20
    else:
        assert there.cloud is not None
        there.cloud.break_up_after = 5 << 20
        there.cloud.stay_broken = True
    with pytest.raises(BentoMLException) as caught:
        export_model(store, "big:v1", at(there.url("x.tar")), settings=impatient)
    assert caught.value.code in ("NETWORK", "REMOTE")
    assert there.stored() == {}


def put(there: Place, path: str, data: bytes) -> None:
    """Put a file there with the storage's own means."""
    from bentosync import settings
    from bentosync.exchange.external.opening import opened

    target = at(there.url(path))
    with opened(target, settings.load()) as storage, storage.create(target.path, len(data)) as sending:
        sending.write([data])
        sending.commit()
