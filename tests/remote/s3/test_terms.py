"""What a remote's settings add to requests: exactly what botocore's model of S3 says that the operation takes."""

from __future__ import annotations

import asyncio
import http.client
import secrets
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec.structs import replace

from bentosync import aio
from bentosync.errors import NetworkError
from bentosync.settings import RemoteSettings, Settings, TransferSettings
from bentosync.store.store import Store
from tests.blocks import content
from tests.servers.faulty.actions import ResetRequest
from tests.servers.faulty.call import Call
from tests.servers.faulty.server import BUCKET, FaultyS3
from tests.servers.faulty.signature import Keys
from tests.servers.s3 import S3Server

KEYS = Keys("AKIDTERMS", "terms/secret+key")
MIB = 1 << 20
TERMS = {
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": "alias/models",
    "x-amz-acl": "bucket-owner-full-control",
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-request-payer": "requester",
    "x-amz-expected-bucket-owner": "111122223333",
}
OPERATIONS = {
    "GetObject", "HeadObject", "PutObject", "DeleteObject", "CreateMultipartUpload", "UploadPart", "ListParts",
    "CompleteMultipartUpload", "AbortMultipartUpload", "ListObjectsV2", "ListMultipartUploads",
}  # fmt: skip
SIGNATURE = {"x-amz-content-sha256", "x-amz-date", "x-amz-security-token"}


def remote(endpoint_url: str, prefix: str = "p") -> RemoteSettings:
    return RemoteSettings(
        f"s3://{BUCKET}/{prefix}", endpoint_url=endpoint_url, region="us-east-1",
        sse="aws:kms", sse_kms_key_id="alias/models", acl="bucket-owner-full-control", storage_class="STANDARD_IA",
        request_payer="requester", expected_bucket_owner="111122223333",
    )  # fmt: skip


def settings(home: Path, chosen: RemoteSettings) -> Settings:
    transfer = TransferSettings(attempts=1, retry_base_seconds=0.001)
    return Settings(home=home, remotes={"r": chosen}, transfer=transfer)


def create(home: Path, tag: str, *, large: bool = False) -> None:
    with Store(home).create(tag) as model:
        Path(model.path, "note.txt").write_bytes(content(1, 70_000))
        if large:
            Path(model.path, "large.bin").write_bytes(content(2, 17 * MIB))


def everything(server: FaultyS3, folder: Path, chosen: RemoteSettings) -> None:
    """A push that is interrupted and resumed, a pull, a deletion and a clean-up."""
    publisher, consumer = settings(folder / "publisher", chosen), settings(folder / "consumer", chosen)
    create(folder / "publisher", "m:v1", large=True)
    server.inject("UploadPart", ResetRequest(), part=2, times=None)
    with pytest.raises(NetworkError):
        asyncio.run(aio.push("m:v1", settings=publisher))
    server.heal()
    asyncio.run(aio.push("m:v1", settings=publisher))
    asyncio.run(aio.pull("m", settings=consumer))
    folder_key = next(key for key in server.bucket.objects if key.endswith("large.bin"))
    server.bucket.start(f"{folder_key}.stray", None)
    asyncio.run(aio.gc_remote(min_age_seconds=0, settings=consumer))
    asyncio.run(aio.delete_remote("m:v1", settings=consumer))
    assert not OPERATIONS - set(server.requests)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    environment = S3Server("", access_key=KEYS.access_key, secret_key=KEYS.secret_key).environment
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with FaultyS3(KEYS) as running:
        yield running


def documented(operation: str) -> set[str]:
    """The headers that Amazon's own model says `operation` takes."""
    model = botocore.session.Session().get_service_model("s3").operation_model(operation)
    members = model.input_shape.members.values()
    return {m.serialization["name"].lower() for m in members if m.serialization.get("location") == "header"}


def due(call: Call) -> dict[str, str]:
    """The terms that belong on this call: what the model knows; a storage class for model files only."""
    names = documented(call.operation)
    if not call.key.startswith("p/files/"):
        names -= {"x-amz-storage-class"}
    return {name: value for name, value in TERMS.items() if name in names}


def test_every_request_carries_the_terms_that_s3_documents_for_it_and_nothing_else(
    server: FaultyS3, tmp_path: Path
) -> None:
    everything(server, tmp_path, remote(server.url))
    for call in server.calls:
        sent = {name: value for name, value in call.headers.items() if name in TERMS}
        assert sent == due(call), call.operation
        unknown = {name for name in call.headers if name.startswith("x-amz-")} - documented(call.operation) - SIGNATURE
        assert not unknown, f"{call.operation} knows no {unknown}"


def test_without_settings_no_request_carries_any(server: FaultyS3, tmp_path: Path) -> None:
    everything(server, tmp_path, RemoteSettings(f"s3://{BUCKET}/p", endpoint_url=server.url))
    assert not [call for call in server.calls if TERMS.keys() & call.headers.keys()]


@pytest.mark.parametrize("kind", ["seaweed_credentials", "moto_credentials"])
def test_real_servers_take_the_terms_and_keep_them(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    store: S3Server = request.getfixturevalue(kind)
    prefix = f"terms-{secrets.token_hex(4)}"
    chosen = remote(store.endpoint_url, prefix)
    if kind == "moto_credentials":
        chosen = replace(chosen, expected_bucket_owner="123456789012")
    else:  # it has no accounts and no key service
        chosen = replace(chosen, expected_bucket_owner=None, sse_kms_key_id=None, sse="AES256")
    create(tmp_path / "publisher", "m:v1", large=True)
    asyncio.run(aio.push("m:v1", settings=settings(tmp_path / "publisher", chosen)))
    listed = asyncio.run(aio.list_remote(settings=settings(tmp_path / "publisher", chosen)))
    folder = f"{prefix}/files/m/v1-{listed[0].envelope.push_id}"
    for key, storage in ((f"{folder}/large.bin", "STANDARD_IA"), (f"{folder}/note.txt", "STANDARD_IA"),
                         (f"{prefix}/models/m/v1.jsonl", "STANDARD")):  # fmt: skip
        kept = head(store, key)
        assert kept.get("x-amz-server-side-encryption") == chosen.sse, key
        assert kept.get("x-amz-storage-class", "STANDARD") == storage, key
        if kind == "moto_credentials":
            assert kept.get("x-amz-server-side-encryption-aws-kms-key-id") == "alias/models", key
    asyncio.run(aio.pull("m:v1", settings=settings(tmp_path / "consumer", chosen)))


def head(store: S3Server, key: str) -> dict[str, str]:
    """The headers of an object, asked for by botocore's signature."""
    signed = AWSRequest("HEAD", f"{store.endpoint_url}/{store.bucket}/{key}")
    S3SigV4Auth(Credentials(store.access_key, store.secret_key), "s3", "us-east-1").add_auth(signed)
    connection = http.client.HTTPConnection(store.endpoint_url.removeprefix("http://"), timeout=10)
    connection.request("HEAD", f"/{store.bucket}/{key}", headers=dict(signed.headers))
    reply = connection.getresponse()
    connection.close()
    assert reply.status == 200
    return {name.lower(): value for name, value in reply.getheaders()}
