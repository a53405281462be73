from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bentosync.errors import AuthError
from bentosync.remote.s3.credentials import Chain
from bentosync.remote.s3.plain import Surroundings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials but those a test writes down."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def issuing(folder: Path, lifetime: timedelta) -> Path:
    """A profile `job` whose credential process numbers its keys and says when they expire."""
    expiry = (datetime.now(UTC) + lifetime).isoformat()
    script = folder / "issue.py"
    script.write_text(
        "import json, pathlib\n"
        f"log = pathlib.Path({str(folder / 'issued')!r})\n"
        "count = len(log.read_text()) + 1 if log.exists() else 1\n"
        "log.write_text('x' * count)\n"
        f"print(json.dumps(dict(Version=1, AccessKeyId=f'key{{count}}', SecretAccessKey='s', SessionToken='t', "
        f"Expiration={expiry!r})))\n"
    )
    (folder / "config").write_text(
        f"[profile job]\nregion = eu-north-1\ncredential_process = {sys.executable} {script}\n"
    )
    return folder / "issued"


async def test_credentials_are_found_where_botocore_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text("[other]\naws_access_key_id = file\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "env")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    by_environment = await Chain(None).credentials()
    by_profile = await Chain("other").credentials()
    assert (by_environment.access_key, by_environment.source) == ("env", "env")
    assert (by_profile.access_key, by_profile.source) == ("file", "shared-credentials-file")


async def test_region_and_endpoint_come_from_the_profile_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile p]\nregion = eu-north-1\nendpoint_url = http://one\n")
    assert await Chain("p").surroundings() == Surroundings("eu-north-1", "http://one")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://two")
    assert await Chain(None).surroundings() == Surroundings("us-west-2", "http://two")


async def test_credentials_that_last_are_issued_once(tmp_path: Path) -> None:
    issued = issuing(tmp_path, timedelta(hours=2))
    chain = Chain("job")
    assert [(await chain.credentials()).access_key for _ in range(3)] == ["key1"] * 3
    chain.forget(await chain.credentials())
    assert (await chain.credentials()).access_key == "key2"
    assert issued.read_text() == "xx"


async def test_credentials_near_their_end_are_issued_again(tmp_path: Path) -> None:
    issuing(tmp_path, timedelta(minutes=2))
    chain = Chain("job")
    first = (await chain.credentials()).access_key
    assert (await chain.credentials()).access_key > first


async def test_a_failing_credential_process_is_an_auth_error(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(f"[profile job]\ncredential_process = {sys.executable} -c 1/0\n")
    with pytest.raises(AuthError):
        await Chain("job").credentials()


async def test_no_credentials_at_all_is_an_auth_error_that_names_the_places_and_has_a_hint(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile empty]\nregion = eu-north-1\n")
    with pytest.raises(AuthError) as caught:
        await Chain(None).credentials()
    places = ("AWS_ACCESS_KEY_ID", f"{tmp_path}/credentials (no such file)", f"{tmp_path}/config,", "web identity",
              "container's role", "instance's role")  # fmt: skip
    assert not [place for place in places if place not in caught.value.message]
    assert "AWS_ACCESS_KEY_ID" in (caught.value.hint or "")
    with pytest.raises(AuthError, match="profile empty") as caught:
        await Chain("empty").credentials()
    assert "AWS_ACCESS_KEY_ID in the environment" not in caught.value.message  # a named profile outranks it


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\u20ac"])
async def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, end: str
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "quiet")
    monkeypatch.setenv(name, f"quiet{end}")
    with pytest.raises(AuthError, match="from env") as caught:
        await Chain(None).credentials()
    assert "quiet" not in str(caught.value)
