"""A bucket under faults: what is lost is sent again, and an upload that fails is aborted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bentosync.errors import AuthError, Conflict, NetworkError
from bentosync.exchange import place as places
from bentosync.exchange.exporting import export_model
from bentosync.exchange.external.location import Location
from bentosync.exchange.importing import import_model
from bentosync.settings import RemoteSettings, Settings
from bentosync.store.store import Store
from tests.servers.faulty.actions import Action, Answer, Meanwhile, Reset, ResetRequest
from tests.servers.faulty.server import FaultyS3
from tests.servers.faulty.signature import Keys

KEYS = Keys("AKIDOFTHETEST", "swordfish/key")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    with FaultyS3(KEYS) as server:
        yield server


def at(server: FaultyS3, path: str, passwd: str = KEYS.secret_key) -> Location:
    """By BentoML's arguments, credentials included."""
    found = places.of(
        "bench", protocol="s3", user=KEYS.access_key, passwd=passwd, params={"endpoint_url": server.url}, subpath=path
    )
    assert isinstance(found, Location)
    return found


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("UploadPart", ResetRequest(at=1000)),
        ("UploadPart", Answer(503)),
        ("CompleteMultipartUpload", Reset()),
        ("CreateMultipartUpload", Reset()),
        ("GetObject", Reset(at=3_000_000)),
        ("GetObject", Answer(500)),
    ],
    ids=repr,
)
def test_what_fails_in_passing_is_tried_again(
    server: FaultyS3, store: Store, other: Store, impatient: Settings, operation: str, fault: Action
) -> None:
    server.inject(operation, fault)
    done = export_model(store, "big:v1", at(server, "x.tar"), settings=impatient)
    model = import_model(other, places.of(done.place), settings=impatient).model
    assert server.unfired == []
    assert other.describe(model).pin == done.manifest.pin


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
def test_an_upload_that_fails_for_good_is_aborted_and_the_older_object_stays(
    server: FaultyS3, store: Store, other: Store, impatient: Settings, operation: str
) -> None:
    export_model(store, "m:v1", at(server, "x.tar"), settings=impatient)
    server.inject(operation, Answer(500), times=None)
    with pytest.raises(NetworkError):
        export_model(store, "big:v1", at(server, "x.tar"), settings=impatient)
    assert server.requests["AbortMultipartUpload"] == 1
    assert not server.bucket.uploads
    assert import_model(other, at(server, "x.tar"), settings=impatient).model.tag.name == "m"


def test_an_object_that_is_replaced_while_it_is_read_is_a_conflict(
    server: FaultyS3, store: Store, other: Store, impatient: Settings
) -> None:
    export_model(store, "big:v1", at(server, "x.tar"), settings=impatient)
    server.inject("GetObject", Meanwhile(lambda bucket: bucket.put("x.tar", b"another" * 1000)), nth=2)
    with pytest.raises(Conflict):
        import_model(other, at(server, "x.tar"), settings=impatient)
    assert other.list() == []


def test_given_keys_are_used_and_never_shown(
    server: FaultyS3, store: Store, impatient: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "somebody else's")
    done = export_model(store, "m:v1", at(server, "x.tar"), settings=impatient)
    assert "swordfish" not in f"{done!r} {done.shown}"
    with pytest.raises(AuthError) as caught:
        export_model(store, "m:v1", at(server, "x.tar", passwd="swordfish, wrong"), settings=impatient)
    assert "swordfish" not in f"{caught.value.message} {caught.value.hint}"


def test_params_become_headers_of_the_object(server: FaultyS3, store: Store, impatient: Settings) -> None:
    found = places.of(
        "bench", protocol="s3", subpath="x.tar", user=KEYS.access_key, passwd=KEYS.secret_key,
        params={"endpoint_url": server.url, "acl": "public-read", "cache-control": "max-age=2592000,public"},
    )  # fmt: skip
    for tag in ("m:v1", "big:v1"):
        export_model(store, tag, found, settings=impatient)
    made = [call for call in server.calls if call.operation in ("PutObject", "CreateMultipartUpload")]
    assert len(made) == 2
    for call in made:
        assert call.headers["x-amz-acl"] == "public-read"
        assert call.headers["cache-control"] == "max-age=2592000,public"


def test_a_bucket_is_reached_as_the_remote_in_it_is(
    server: FaultyS3, store: Store, impatient: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msgspec.structs import replace

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    remotes = {
        "other": RemoteSettings("s3://bench-2/models", endpoint_url="http://127.0.0.1:9"),
        "lab": RemoteSettings("s3://bench/models", endpoint_url=server.url),
    }
    settings = replace(impatient, remotes=remotes)
    export_model(store, "m:v1", places.of("s3://bench/exports/x.tar"), settings=settings)
    assert list(server.bucket.objects) == ["exports/x.tar"]
