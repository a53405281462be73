"""`gc` on both sides: what it prints, and that it asks."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.conftest import Invoke, World


@pytest.fixture
def littered(world: World, invoke: Invoke) -> World:
    """A published version, a dead staged tree in the store, and on the remote a folder that nobody names."""
    world.model()
    assert invoke("push", "m").exit_code == 0
    (world.store.layout.staging / "dead/tree").mkdir(parents=True)
    (world.store.layout.staging / "dead/tree/file").write_bytes(b"x" * 5000)
    (world.store.layout.staging / "dead/lock").touch()
    orphan = world.remote / "files/m/v0-abcdefghij"
    orphan.mkdir()
    (orphan / "weights").write_bytes(b"y" * 2048)
    return world


def test_a_dry_run_names_what_would_go_and_changes_nothing(littered: World, invoke: Invoke) -> None:
    local = invoke("gc", "--dry-run")
    assert re.fullmatch(r"Would free \d.*: 1 leftover\n", local.stdout), local.stderr
    assert "staging  dead  " in local.stderr
    assert (littered.store.layout.staging / "dead").is_dir()
    there = invoke("gc", "--remote", "--dry-run", "--min-age", "0s")
    assert there.stdout == "Would free 2.00 KiB: 1 folder, 0 push records, 0 unfinished uploads\n"
    assert "files/m/v0-abcdefghij/  2.00 KiB" in there.stderr
    assert (littered.remote / "files/m/v0-abcdefghij/weights").is_file()


def test_gc_of_the_store_frees_and_reports(littered: World, invoke: Invoke) -> None:
    report = json.loads(invoke("gc", "--json").stdout)
    assert [(one["kind"], one["kept"]) for one in report["removed"]] == [("staging", None)]
    assert invoke("gc").stdout == "Freed 0 B: 0 leftovers\n"
    assert invoke("verify").exit_code == 0


def test_gc_of_a_remote_needs_a_yes_and_keeps_what_is_young(littered: World, invoke: Invoke) -> None:
    assert invoke("gc", "--remote").exit_code == 2
    young = invoke("gc", "--remote", "nas", "--yes")
    assert young.stdout == "Freed 0 B: 0 folders, 0 push records, 0 unfinished uploads\n"
    assert "stays: too young" in young.stderr
    report = json.loads(invoke("gc", "--remote", "--yes", "--min-age", "0s", "--json").stdout)
    assert [folder["prefix"] for folder in report["folders"]] == ["files/m/v0-abcdefghij/"]
    invoke("delete", "-y", "m")
    assert invoke("pull", "m").exit_code == 0


def test_more_than_half_needs_force(littered: World, invoke: Invoke) -> None:
    (littered.remote / "models/m/v1.jsonl").unlink()
    refused = invoke("gc", "--remote", "--yes", "--min-age", "0s")
    assert refused.exit_code == 7
    assert "2 of 2 folders would go" in refused.stderr
    assert len(list((littered.remote / "files/m").iterdir())) == 2
    assert invoke("gc", "--remote", "--yes", "--min-age", "0s", "--force").exit_code == 0
    assert not (littered.remote / "files").exists()


@pytest.mark.parametrize("age", ["7", "soon", "-1d", "1y", ""])
def test_an_age_that_is_none_is_usage(world: World, invoke: Invoke, age: str) -> None:
    assert invoke("gc", "--min-age", age).exit_code == 2
