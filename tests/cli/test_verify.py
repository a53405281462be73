"""`verify --repair` and `verify --remote`: what they say, what they fetch, and when they fail."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, World


@pytest.fixture
def damaged(world: World, invoke: Invoke) -> Path:
    """A pulled version with one bad byte; its file."""
    world.model(size_bytes=3 << 20)
    invoke("push", "m")
    invoke("delete", "-y", "m")
    invoke("pull", "m")
    path = Path(world.store.get("m").path) / "model.safetensors"
    with path.open("r+b") as file:
        file.seek(2 << 20)
        file.write(b"\xff" * 3)
    return path


def test_repair_fetches_the_bad_block_and_says_so(damaged: Path, world: World, invoke: Invoke) -> None:
    result = invoke("verify", "--repair", "m")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "m:v1: model.safetensors: bytes 2097152..3145728 differ"
    assert re.fullmatch(r"m:v1: repaired \(fetched 1\.00 MiB from file:///.*/remote\)", lines[1])
    assert invoke("verify", "--strong").stdout.startswith("m:v1: ok")


def test_repair_of_all_leaves_what_is_whole_alone(damaged: Path, world: World, invoke: Invoke) -> None:
    world.model("other:v1")
    before = Path(world.store.get("other").path).stat().st_ino
    reports = {report["tag"]: report for report in json.loads(invoke("verify", "--repair", "--json").stdout)}
    assert reports["m:v1"]["repaired"]["fetched_bytes"] == 1 << 20
    assert (reports["other:v1"]["damage"], reports["other:v1"]["repaired"]) == ([], None)
    assert Path(world.store.get("other").path).stat().st_ino == before


def test_a_version_without_model_yaml_is_found_damaged_and_repaired(
    damaged: Path, world: World, invoke: Invoke
) -> None:
    (damaged.parent / "model.yaml").unlink()
    assert invoke("verify").exit_code == 6
    assert invoke("verify", "m:v1", "--repair").exit_code == 0
    assert invoke("verify").exit_code == 0


def test_what_the_remote_no_longer_has_stays_damaged_and_says_why(damaged: Path, world: World, invoke: Invoke) -> None:
    (world.remote / "models/m/v1.jsonl").unlink()
    result = invoke("verify", "--repair", "m")
    assert result.exit_code == 3
    assert "Model 'm:v1' is not found on" in result.stderr


def test_models_without_digests_are_named_and_do_not_hide_the_others(world: World, invoke: Invoke) -> None:
    world.model("known:v1")
    world.model("unknown:v1")
    world.store.layout.record_path(world.store.get("unknown").tag).unlink()
    result = invoke("verify")
    assert result.exit_code == 0
    assert result.stdout.startswith("known:v1: ok")
    assert "unknown:v1: not checked: no digests" in result.stderr
    assert invoke("verify", "unknown").exit_code == 3


def test_what_lies_on_the_remote_is_checked_there(damaged: Path, world: World, invoke: Invoke) -> None:
    world.model("other:v1")
    invoke("push", "other")
    result = invoke("verify", "--remote")
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert re.fullmatch(r"m:v1 on file:///.*/remote: ok \(3\.\d+ MiB, .*\)", first)
    assert second.startswith("other:v1 on file:///")
    assert damaged.exists()


def test_damage_on_the_remote_is_named_with_what_mends_it(damaged: Path, world: World, invoke: Invoke) -> None:
    (there,) = (world.remote / "files/m").glob("*/model.safetensors")
    there.chmod(0o644)
    with there.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"\xff" * 3)
    result = invoke("verify", "--remote", "m", "--sample", "100%")
    assert result.exit_code == 6
    assert re.fullmatch(r"m:v1 on file:///\S+: model\.safetensors: bytes 1048576\.\.2097152 differ\n", result.stdout)
    assert "1 model of 1 damaged on file:///" in result.stderr
    assert result.stderr.endswith("  try: where it is whole: bentosync push --resend m:v1\n")
    (report,) = json.loads(invoke("verify", "--remote", "--json").stdout)
    assert (report["tag"], report["damage"][0]["begin"]) == ("m:v1", 1 << 20)


def test_a_sample_is_of_a_remote_and_a_share(damaged: Path, invoke: Invoke) -> None:
    small = invoke("verify", "--remote", "m", "--sample", "1%")
    assert small.exit_code == 0
    assert "chosen at random" in small.stdout
    assert (invoke("verify", "--sample", "1%").exit_code, invoke("verify", "--remote", "--sample", "2").exit_code) == (
        2,
        2,
    )
