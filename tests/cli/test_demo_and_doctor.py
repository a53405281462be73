"""The first thing a newcomer runs, and the first thing that is asked for when something is wrong."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, Spawn, World

STEPS = ["create", "push", "delete", "pull", "verify", "pull again", "load"]


def test_the_demo_walks_the_whole_road_and_touches_nothing_of_the_users(world: World, spawn: Spawn) -> None:
    pytest.importorskip("torch")
    scratch = world.base / "scratch"
    scratch.mkdir()
    process = spawn("demo", "--size", "5MiB", "--json", TMPDIR=str(scratch))
    assert process.returncode == 0, process.stderr
    steps = {step["step"]: step for step in json.loads(process.stdout)}
    assert list(steps) == STEPS
    assert steps["push"]["bytes"] == steps["pull"]["bytes"] > 5 << 20
    assert steps["pull again"]["bytes"] == 0
    assert steps["load"]["bytes"] == 5 << 20
    assert list(scratch.iterdir()) == []
    assert not (world.base / "bentoml").exists()
    assert not list((world.base / "user").iterdir())


def test_the_demo_says_bytes_seconds_and_what_is_next(invoke: Invoke, world: World) -> None:
    pytest.importorskip("torch")
    result = invoke("demo", "--size", "2MiB")
    assert [line[:12].strip() for line in result.stdout.splitlines()] == STEPS
    assert "up to date, nothing moved" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("Next: ")


def test_without_torch_the_demo_leaves_out_the_last_step_and_says_how_to_get_it(
    world: World, spawn: Spawn, tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    process = spawn("demo", "--size", "2MiB", PYTHONPATH=str(hidden))
    assert process.returncode == 0, process.stderr
    assert [line[:12].strip() for line in process.stdout.splitlines()] == STEPS
    last = process.stdout.splitlines()[-1]
    assert last.endswith('left out: loading tensors needs torch (pip install "bentosync[torch]")')


def test_a_size_that_is_none_is_usage(invoke: Invoke) -> None:
    assert invoke("demo", "--size", "big").exit_code == 2


def test_the_doctor_reports_on_everything(invoke: Invoke, world: World) -> None:
    world.model()
    result = invoke("doctor")
    assert result.exit_code == 0
    topics = [line[4:16].strip() for line in result.stdout.splitlines()]
    assert topics == [
        "bentosync",
        "python",
        "libraries",
        "native core",
        "bodies",
        "event loop",
        "store",
        "torch",
        "remote",
    ]
    assert f"{world.base}/bentoml: " in result.stdout
    assert "writable, reflink " in result.stdout
    assert f"nas: file://{world.remote}: reachable" in result.stdout
    document = json.loads(invoke("doctor", "--json").stdout)
    assert document["ok"] is True
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in document["findings"][1]["text"]


def test_the_doctor_survives_a_sick_remote_and_says_so(invoke: Invoke, world: World) -> None:
    world.configure(
        '[transfer]\nattempts = 1\n[remote.gone]\nurl = "s3://bkt/p"\n'
        'endpoint_url = "http://127.0.0.1:9"\nanonymous = true\n'
    )
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "BAD remote      gone: " in result.stdout


def test_the_doctor_opens_no_socket_offline(invoke: Invoke, world: World) -> None:
    world.configure('[remote.lab]\nurl = "s3://bkt/p"\nendpoint_url = "http://127.0.0.1:9"\n')
    result = invoke("doctor", "--offline")
    assert result.exit_code == 0
    assert "lab: s3://bkt/p: not asked (offline)" in result.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_calls_back(invoke: Invoke, shell: str) -> None:
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert "_BENTOSYNC_COMPLETE" in result.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("bentosync pu", {"pull", "push"}),
        ("bentosync get m", {"m", "mm"}),
        ("bentosync get m:", {"m:v1", "m:v2"}),
        ("bentosync push --remote n", {"nas"}),
        ("bentosync models de", {"delete"}),
    ],
)
def test_completion_knows_commands_models_and_remotes(
    world: World, spawn: Spawn, words: str, expected: set[str]
) -> None:
    for tag in ("m:v1", "m:v2", "mm:v1"):
        world.model(tag)
    parts = words.split()
    process = spawn(
        _BENTOSYNC_COMPLETE="fish_complete", COMP_WORDS=words, COMP_CWORD=parts[-1], PATH=os.environ["PATH"]
    )
    assert process.returncode == 0
    assert {line.split(",", 1)[-1].split("\t")[0] for line in process.stdout.split()} >= expected
