"""Every bad input: a clear error, its exit status, and nothing half-written."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bentosync.tag import Tag
from tests.cli.conftest import Invoke, Spawn, World
from tests.servers.s3 import S3Server


def error_of(stderr: str) -> str:
    """The line of the error; there is exactly one."""
    (line,) = [line for line in stderr.splitlines() if line.startswith("error[")]
    return line


@pytest.mark.parametrize("tag", ["a/b", "m:", "M N", "../x", "m:v/1", "m:a:b", "-m", "m\n", "é", "x" * 64, "m@b3:12"])
@pytest.mark.parametrize("command", ["push", "pull", "get", "delete", "list", "verify", "load"])
def test_a_malformed_tag_is_usage_and_no_traceback(invoke: Invoke, world: World, command: str, tag: str) -> None:
    result = invoke(command, "--", tag)
    assert result.exit_code == 2, result.stderr
    assert error_of(result.stderr).startswith(("error[TAG]: ", "error[USAGE]: "))
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["push", "get", "delete", "verify"])
def test_an_unknown_model_is_not_found(invoke: Invoke, command: str) -> None:
    for tag in ("nope", "nope:v1"):
        result = invoke(command, tag)
        assert (result.exit_code, result.stdout) == (3, "")
        assert error_of(result.stderr).startswith("error[NOT-FOUND]: ")


def test_a_model_unknown_to_the_remote_is_not_found(invoke: Invoke, world: World) -> None:
    for tag in ("nope", "nope:v1"):
        result = invoke("pull", tag)
        assert result.exit_code == 3
        assert error_of(result.stderr).startswith("error[NOT-FOUND]: ")
    assert not (world.base / "bentoml/models/nope").exists()


def lose_yaml(version: Path) -> None:
    (version / "model.yaml").unlink()


def break_yaml(version: Path) -> None:
    (version / "model.yaml").write_text("{{{{")


def change_version(version: Path) -> None:
    text = (version / "model.yaml").read_text()
    (version / "model.yaml").write_text(text.replace("version: v1", "version: v2"))


@pytest.mark.parametrize("damage", [lose_yaml, break_yaml, change_version])
def test_a_version_that_its_model_yaml_does_not_describe_is_damaged(
    invoke: Invoke, world: World, damage: Callable[[Path], None]
) -> None:
    world.model()
    assert invoke("push", "m").exit_code == 0
    damage(world.store.layout.version_dir(Tag("m", "v1")))
    for arguments in (("get", "m:v1"), ("pull", "m:v1"), ("push", "m:v1"), ("load", "m:v1", "--device", "cpu")):
        result = invoke(*arguments)
        assert (arguments, result.exit_code) == (arguments, 6), result.stderr
    assert invoke("verify", "--repair", "m:v1").exit_code == 0
    assert invoke("get", "m:v1").exit_code == 0


def test_an_unknown_remote_is_not_found_with_a_suggestion(invoke: Invoke, world: World) -> None:
    world.model()
    for command in ("push", "pull"):
        result = invoke(command, "m", "--remote", "nsa")
        assert result.exit_code == 3
        assert result.stderr == 'error[NOT-FOUND]: no remote "nsa" is configured\n  try: did you mean nas?\n'


def test_no_remote_at_all_shows_how_to_get_one(invoke: Invoke, world: World) -> None:
    world.model()
    world.configure("")
    result = invoke("push", "m")
    assert result.exit_code == 3
    assert result.stderr.count("bentosync remote add") == 3


def test_a_broken_config_file_names_file_and_key(invoke: Invoke, world: World) -> None:
    world.configure("[transfer]\njobs = 'many'\n")
    result = invoke("list")
    assert result.exit_code == 2
    assert "config/bentosync/config.toml: transfer.jobs: expected a whole number" in error_of(result.stderr)
    assert invoke("config", "path").exit_code == invoke("version").exit_code == 0


def test_offline_refuses_a_remote_that_needs_the_network(invoke: Invoke, world: World) -> None:
    world.model()
    result = invoke("push", "m", "--offline", "--remote", "s3://bucket/p")
    assert result.exit_code == 2
    assert "offline" in error_of(result.stderr)
    assert "try: leave out --offline" in result.stderr


# --- stores -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_read_only_store_gives_what_it_holds_and_refuses_to_change(
    world: World, invoke: Invoke, spawn: Spawn
) -> None:
    for tag in ("m:v1", "gone:v1"):
        world.model(tag)
        assert invoke("push", tag).exit_code == 0
    assert invoke("delete", "-y", "gone").exit_code == 0
    world.model("new:v1")
    home = world.base / "bentoml"
    if os.system(f"mount --bind '{home}' '{home}' && mount -o remount,bind,ro '{home}'") != 0:
        pytest.skip("this container may not mount")
    try:
        assert spawn("list", "-q").stdout == "new:v1\nm:v1\n"
        assert spawn("get", "m", "-o", "path").returncode == 0
        assert spawn("verify", "m").returncode == 0
        assert spawn("pull", "-q", "m").stdout.endswith("bentoml/models/m/v1\n")
        for model in ("m", "new"):
            pushed = spawn("push", model)
            assert pushed.returncode == 0, pushed.stderr
        for command in (("delete", "-y", "m"), ("pull", "gone")):
            refused = spawn(*command)
            assert refused.returncode == 4, refused.stderr
            assert error_of(refused.stderr).startswith("error[LOCAL-IO]: ")
            assert "try: check owner, mode and mount options" in refused.stderr
    finally:
        os.system(f"umount '{home}'")


def test_a_store_below_a_file_is_a_disk_error(invoke: Invoke, world: World) -> None:
    (world.base / "file").write_text("")
    world.model()
    invoke("push", "m")
    result = invoke("pull", "m", "--store", str(world.base / "file"))
    assert result.exit_code == 1
    assert error_of(result.stderr).startswith("error[LOCAL-IO]: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_is_said_before_anything_is_fetched(world: World, invoke: Invoke) -> None:
    world.model(size_bytes=8 << 20)
    invoke("push", "m")
    small = world.base / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=4m tmpfs '{small}'") != 0:
        pytest.skip("this container may not mount")
    try:
        result = invoke("pull", "m", "--store", str(small))
        assert result.exit_code == 8
        assert re.search(r"m:v1 needs 8\.\d MiB more in .*, \d\.\d MiB are free", error_of(result.stderr))
        assert not (small / "models/m").exists()
    finally:
        os.system(f"umount '{small}'")


# --- remotes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\xff\xfe\x00",
        b"{}\n",
        b"[" * 100_000,
        b'{"format":1}\n' * 3,
        b"x" * (65 << 20),
    ],
    ids=["empty", "no-text", "no-envelope", "deep", "repeated", "too-long"],
)
def test_a_hostile_manifest_is_refused_and_leaves_nothing(world: World, invoke: Invoke, hostile: bytes) -> None:
    world.model()
    invoke("push", "m")
    invoke("delete", "-y", "m")
    (world.remote / "models/m/v1.jsonl").write_bytes(hostile)
    result = invoke("pull", "m:v1")
    assert result.exit_code == 6
    assert error_of(result.stderr).startswith("error[UNSAFE]: ")
    assert "Traceback" not in result.stderr
    assert not (world.base / "bentoml/models/m").exists()


def test_a_manifest_that_points_outside_is_refused(world: World, invoke: Invoke) -> None:
    world.model()
    invoke("push", "m")
    invoke("delete", "-y", "m")
    manifest = world.remote / "models/m/v1.jsonl"
    manifest.write_bytes(manifest.read_bytes().replace(b'"config.json"', b'"../../evil"'))
    result = invoke("pull", "m:v1")
    assert result.exit_code == 6
    assert not list(world.base.rglob("evil"))


def test_a_manifest_of_another_model_is_refused(world: World, invoke: Invoke) -> None:
    for tag in ("m:v1", "n:v1"):
        world.model(tag)
        invoke("push", tag)
        invoke("delete", "-y", tag)
    (world.remote / "models/m/v1.jsonl").write_bytes((world.remote / "models/n/v1.jsonl").read_bytes())
    assert invoke("pull", "m:v1").exit_code == 6


def test_damaged_bytes_on_the_remote_are_an_integrity_error_and_never_published(world: World, invoke: Invoke) -> None:
    world.model(size_bytes=3 << 20)
    invoke("push", "m")
    invoke("delete", "-y", "m")
    (stored,) = world.remote.rglob("model.safetensors")
    data = bytearray(stored.read_bytes())
    data[2_000_000] ^= 1
    stored.chmod(0o644)
    stored.write_bytes(data)
    result = invoke("pull", "m")
    assert result.exit_code == 6
    assert error_of(result.stderr).startswith("error[INTEGRITY]: ")
    assert not (world.base / "bentoml/models/m").exists()


def test_a_remote_folder_that_is_not_there_is_clear(world: World, invoke: Invoke) -> None:
    result = invoke("pull", "m", "--remote", str(world.base / "nowhere"))
    assert result.exit_code == 3
    assert not (world.base / "nowhere").exists()


def s3(world: World, endpoint: str, bucket: str = "bench") -> None:
    world.configure(
        "[transfer]\nattempts = 2\nretry_base_seconds = 0.01\nconnect_seconds = 1.0\n"
        f'[remote.lab]\nurl = "s3://{bucket}/p"\nendpoint_url = "{endpoint}"\n'
        'region = "us-east-1"\naddressing = "path"\n'
    )


def test_an_unreachable_endpoint_is_a_network_error(world: World, invoke: Invoke, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    s3(world, f"http://127.0.0.1:{port}")
    result = invoke("pull", "m:v1")
    assert result.exit_code == 5
    assert error_of(result.stderr).startswith("error[NETWORK]: ")


def test_a_missing_bucket_is_not_found(world: World, invoke: Invoke, seaweed_credentials: S3Server) -> None:
    world.model()
    s3(world, seaweed_credentials.endpoint_url, "no-such-bucket")
    for command in ("push", "pull"):
        result = invoke(command, "m:v1")
        assert result.exit_code == 3
        assert "no-such-bucket" in error_of(result.stderr)


def test_wrong_credentials_are_an_auth_error_without_the_secret(
    world: World, invoke: Invoke, seaweed_credentials: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    world.model()
    s3(world, seaweed_credentials.endpoint_url)
    for command in ("push", "pull"):
        result = invoke("-vv", command, "m:v1")
        assert result.exit_code == 4
        assert "error[AUTH]: " in result.stderr
        assert "hunter2" not in result.stderr + result.stdout


def test_no_credentials_are_an_auth_error(world: World, invoke: Invoke, seaweed: S3Server, monkeypatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3(world, seaweed.endpoint_url)
    assert invoke("pull", "m:v1").exit_code == 4


def test_json_errors_of_a_batch_are_one_document(world: World, invoke: Invoke) -> None:
    world.model("m:v1")
    result = invoke("--json", "push", "nope:v1", "m:v1", "neither:v1")
    assert result.exit_code == 10
    assert [report["tag"] for report in json.loads(result.stdout)] == ["m:v1"]
    document = json.loads(result.stderr.splitlines()[-1])
    assert [failure["code"] for failure in document["failures"]] == ["NOT-FOUND", "NOT-FOUND"]
    assert Path.cwd() == world.base / "cwd"
