"""What a push and a pull import: the libraries that take longer to import than most transfers take to run, or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.servers.s3 import S3Server

PROGRAM = """
    import asyncio, json, sys
    from pathlib import Path
    from bentosync import aio, settings
    from bentosync.settings import RemoteSettings
    from bentosync.store.store import Store
    from msgspec.structs import replace

    home, url, endpoint, name = sys.argv[1:]
    remote = RemoteSettings(url=url, endpoint_url=endpoint)
    for side in ("publisher", "consumer"):
        chosen = replace(settings.load(), home=Path(home, side), remotes={"r": remote})
        if side == "publisher":
            with Store(chosen.home).create(f"{name}:v1") as model:
                Path(model.path, "weights.bin").write_bytes(bytes(range(256)) * 512)
            asyncio.run(aio.push(f"{name}:v1", remote="r", settings=chosen))
        else:
            asyncio.run(aio.pull(f"{name}:v1", remote="r", settings=chosen))
    heavy = ("botocore", "aiohttp", "urllib.request", "http.client", "email.parser", "torch", "numpy", "tqdm",
             "tomlkit", "multiprocessing", "statistics", "fractions", "difflib")
    print(json.dumps([name for name in heavy if name in sys.modules]))
"""
DATACLASSES = """
    import sys
    import bentosync.aio, bentosync.cli.commands.list, bentosync.cli.commands.models
    import bentosync.cli.commands.pull, bentosync.cli.commands.push, bentosync.cli.running
    import bentosync.remote.s3.s3, bentosync.wire.direct, bentosync.wire.native

    print(*(f"{module}.{name}" for module, content in sorted(sys.modules.items()) if module.startswith("bentosync.")
            for name, kind in vars(content).items()
            if isinstance(kind, type) and kind.__module__ == module and "__dataclass_fields__" in vars(kind)))
"""
# One writes its own `__init__`, the other compares some of its fields only: what a struct cannot.
DATACLASSES_LEFT = {"bentosync.formats.model_yaml.ModelInfo", "bentosync.remote.contract.Upload"}


def imported(server: S3Server, folder: Path, environment: dict[str, str], name: str) -> list[str]:
    """What an interpreter of its own has imported after a push and a pull."""
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith("AWS_") and "proxy" not in key.lower()
    }
    place = [f"s3://{server.bucket}/startup", server.endpoint_url]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(folder), *place, name],
        env={**clean, "HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true", **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


def test_with_keys_in_the_environment_neither_botocore_nor_aiohttp_is_imported(
    seaweed: S3Server, tmp_path: Path
) -> None:
    assert imported(seaweed, tmp_path, dict(seaweed.environment), "by-environment") == []


def test_with_keys_in_a_shared_file_neither_botocore_nor_aiohttp_is_imported(seaweed: S3Server, tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[job]\naws_access_key_id = {seaweed.access_key}\naws_secret_access_key = {seaweed.secret_key}\n"
    )
    assert imported(seaweed, tmp_path, {"AWS_PROFILE": "job"}, "by-file") == []


@pytest.mark.parametrize("where", ["process", "proxy"])
def test_what_needs_them_still_imports_them(seaweed: S3Server, tmp_path: Path, where: str) -> None:
    keys = {"Version": 1, "AccessKeyId": seaweed.access_key, "SecretAccessKey": seaweed.secret_key}
    if where == "proxy":  # the server itself takes absolute addresses, as a proxy gets them
        found = imported(seaweed, tmp_path, {**seaweed.environment, "http_proxy": seaweed.endpoint_url}, "by-proxy")
        assert "aiohttp" in found
        return
    (tmp_path / ".aws").mkdir()
    (tmp_path / "issue").write_text(f"#!/bin/sh\necho '{json.dumps(keys)}'\n")
    (tmp_path / "issue").chmod(0o755)
    (tmp_path / ".aws" / "config").write_text(f"[default]\ncredential_process = {tmp_path}/issue\n")
    assert "botocore" in imported(seaweed, tmp_path, {}, "by-process")


def test_what_a_pull_a_push_and_a_list_import_makes_no_class_by_compiling_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DATACLASSES)], capture_output=True, text=True, timeout=60, check=True
    )
    assert set(done.stdout.split()) == DATACLASSES_LEFT, "a struct is made forty times faster (docs/adr/0022)"
