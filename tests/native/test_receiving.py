from __future__ import annotations

import subprocess
import sys

import pytest

from bentosync.native import receiving, select


def test_off_receives_nothing() -> None:
    assert receiving.openssl_version("off") is None


@pytest.mark.skipif(not (select.compiled() and sys.platform.startswith("linux")), reason="no compiled core")
def test_the_library_that_was_found_is_an_openssl_3() -> None:
    assert (receiving.openssl_version() or "OpenSSL 3").startswith("OpenSSL 3")


@pytest.mark.parametrize(
    "core",
    [
        "None",
        "types.SimpleNamespace(crc64nvme=None)",
        "types.SimpleNamespace(crc64nvme=None, openssl_version=lambda: None)",
    ],
    ids=["no core", "a core that does not receive", "no OpenSSL"],
)
def test_what_is_missing_leaves_the_wire_in_python(core: str) -> None:
    script = f"""
import sys, types
import bentosync.native
core = {core}
sys.modules["bentosync.native._core"] = core
if core is not None:
    bentosync.native._core = core
from bentosync.native import receiving
assert receiving.openssl_version() is None
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, TransferSettings
open_remote(RemoteSettings("s3://bucket/prefix", endpoint_url="https://127.0.0.1:1", region="x"), TransferSettings())
print("bentosync.wire.native" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


@pytest.mark.skipif(receiving.openssl_version() is None, reason="no core that receives")
@pytest.mark.parametrize(("mode", "chosen"), [("off", False), ("auto", True), ("on", True)])
def test_the_core_receives_unless_it_is_switched_off(mode: str, chosen: bool) -> None:
    script = f"""
import sys
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, TransferSettings
open_remote(RemoteSettings("s3://bucket/prefix"), TransferSettings(), native="{mode}")
print("bentosync.wire.native" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{chosen}\n"), done.stderr
