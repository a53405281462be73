"""`cache`: what it prints, what it asks, and that it prunes what it says."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from bentosync.tag import Tag
from tests.cli.conftest import Invoke, World


@pytest.fixture
def cached(world: World, invoke: Invoke) -> World:
    """`m:v1` was pulled; `own:v1` was made here."""
    world.model("m:v1")
    assert invoke("push", "m").exit_code == 0
    invoke("delete", "-y", "m")
    assert invoke("pull", "m").exit_code == 0
    world.model("own:v1")
    return world


def forget_use(world: World) -> None:
    """As if `m:v1` had been pulled long ago: the pull itself is remembered in its record."""
    path = world.store.layout.record_path(Tag("m", "v1"))
    head, _, body = path.read_bytes().partition(b"\n")
    document = json.loads(head)
    document["origin"]["pulled_at"] = "2020-01-01T00:00:00+00:00"
    path.write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n" + body)
    long_ago = time.time() - 90 * 86_400
    os.utime(world.store.layout.use_path(Tag("m", "v1"), "used"), (long_ago, long_ago))


def test_info_adds_up(cached: World, invoke: Invoke) -> None:
    document = json.loads(invoke("cache", "info", "--json").stdout)
    sizes = [model.file_size for model in cached.store.list()]
    assert (document["models"], document["size_bytes"]) == (2, sum(sizes))
    assert (document["pulled"], document["pinned"]) == (1, 0)
    assert "pulled      1, 1.00 MiB" in invoke("cache", "info").stdout


def test_the_list_says_what_keeps_a_version(cached: World, invoke: Invoke) -> None:
    forget_use(cached)
    rows = {row["tag"]: row for row in json.loads(invoke("cache", "ls", "--json").stdout)}
    assert (rows["own:v1"]["kept"], rows["m:v1"]["kept"]) == ("made here", None)
    assert rows["m:v1"]["remote"] == f"file://{cached.remote}"
    table = invoke("cache", "ls").stdout
    assert "90 days ago" in table
    assert "made here" in table


def test_what_was_used_recently_stays(cached: World, invoke: Invoke) -> None:
    result = invoke("cache", "prune", "--max-size", "0", "--yes")
    assert result.stdout.startswith("Freed 0 B: 0 models, 2.0")
    assert "m:v1  1.00 MiB  stays: used recently" in result.stderr


def test_prune_frees_what_the_dry_run_promised(cached: World, invoke: Invoke) -> None:
    forget_use(cached)
    planned = json.loads(invoke("cache", "prune", "--older-than", "30d", "--dry-run", "--json").stdout)
    assert [row["tag"] for row in planned["removed"]] == ["m:v1"]
    assert len(cached.store.list()) == 2
    assert invoke("cache", "prune", "--older-than", "30d").exit_code == 2
    result = invoke("cache", "prune", "--older-than", "30d", "-y")
    assert result.stdout.startswith("Freed 1.00 MiB: 1 model, 1.00 MiB left")
    assert [str(model.tag) for model in cached.store.list()] == ["own:v1"]
    assert invoke("pull", "m").exit_code == 0


def test_get_counts_as_use(cached: World, invoke: Invoke) -> None:
    forget_use(cached)
    invoke("get", "m", "-o", "path")
    assert json.loads(invoke("cache", "prune", "--max-size", "0", "-y", "--json").stdout)["removed"] == []


def test_a_pinned_model_stays_until_it_is_unpinned(cached: World, invoke: Invoke) -> None:
    forget_use(cached)
    assert invoke("cache", "pin", "m").stdout == "Pinned m:v1\n"
    assert "stays: pinned" in invoke("cache", "prune", "--max-size", "0", "-y").stderr
    assert invoke("cache", "unpin", "m").stdout == "Unpinned m:v1\n"
    assert invoke("cache", "prune", "--max-size", "0", "-y").stdout.startswith("Freed 1.00 MiB")


def test_prune_wants_to_know_how_much(world: World, invoke: Invoke) -> None:
    result = invoke("cache", "prune", "-y")
    assert result.exit_code == 2
    assert "--max-size 200GB, or --older-than 30d" in result.stderr
    assert invoke("cache", "prune", "--max-size", "lots").exit_code == 2


def test_a_read_only_look_at_an_empty_store_makes_nothing(world: World, invoke: Invoke) -> None:
    assert invoke("cache", "info").exit_code == 0
    assert invoke("cache", "ls").exit_code == 0
    assert not Path(world.base, "bentoml").exists()
