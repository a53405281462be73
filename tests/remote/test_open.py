from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bentosync.errors import InvalidArgument
from bentosync.remote.open import folder_of, open_remote
from bentosync.settings import RemoteSettings, TransferSettings


@pytest.mark.parametrize("url", ["gs://bucket", "http://host/x", "/plain/path", "", "s4://b"])
def test_an_unknown_scheme_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        open_remote(RemoteSettings(url), TransferSettings())
    assert "file://" in (caught.value.hint or "")
    assert "s3://" in (caught.value.hint or "")


@pytest.mark.parametrize("url", ["file://host/path", "file:relative", "file://", "file:///a%00b", "file:///a?x=1"])
def test_a_file_url_must_name_an_absolute_folder_of_this_machine(url: str) -> None:
    with pytest.raises(InvalidArgument):
        open_remote(RemoteSettings(url), TransferSettings())


def test_file_urls_are_percent_decoded() -> None:
    assert folder_of("file:///a%20b/c") == folder_of("file://localhost/a%20b/./c") == Path("/a b/c")


async def test_a_folder_is_opened_where_the_url_says(tmp_path: Path) -> None:
    remote = open_remote(RemoteSettings((tmp_path / "a b").as_uri()), TransferSettings())
    await remote.write("k", b"x")
    assert (tmp_path / "a b" / "k").read_bytes() == b"x"
    assert remote.properties.url == (tmp_path / "a b").as_uri()


def test_opening_a_folder_imports_no_http_client() -> None:
    code = (
        "import sys; from bentosync.remote.open import open_remote; from bentosync.settings import *;"
        "open_remote(RemoteSettings('file:///tmp/x'), TransferSettings());"
        "sys.exit(any(name in sys.modules for name in ('aiohttp', 'botocore')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_opening_a_bucket_imports_no_botocore_yet() -> None:
    code = (
        "import sys; from bentosync.remote.open import open_remote; from bentosync.settings import *;"
        "open_remote(RemoteSettings('s3://bucket'), TransferSettings());"
        "sys.exit('botocore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
