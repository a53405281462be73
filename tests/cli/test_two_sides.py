"""`list` and `delete` with and without `--remote`: which side is meant, and what each prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, World


@pytest.fixture
def pushed(world: World, invoke: Invoke) -> World:
    """`m:v1` and `m:v2` on the remote, only `m:v1` in the store."""
    for tag in ("m:v1", "m:v2"):
        world.model(tag)
        assert invoke("push", tag).exit_code == 0
    invoke("delete", "-y", "m:v2")
    return world


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--remote"),
        ("list", "--remote", "nas"),
        ("list", "--remote=nas"),
        ("--remote", "nas", "list"),
        ("list", "--remote", "m"),
        ("list", "m", "--remote"),
        ("list", "--remote", "nas", "m"),
    ],
)
def test_a_remote_is_listed_however_it_is_named(pushed: World, invoke: Invoke, arguments: tuple[str, ...]) -> None:
    assert invoke(*arguments, "-q").stdout.split() == ["m:v2", "m:v1"]


def test_a_url_is_a_remote_too(pushed: World, invoke: Invoke) -> None:
    assert invoke("list", "-q", "--remote", f"file://{pushed.remote}").stdout.split() == ["m:v2", "m:v1"]


def test_the_table_of_a_remote_is_that_of_the_store(pushed: World, invoke: Invoke) -> None:
    there, here = invoke("list", "--remote", "m:v1"), invoke("list", "m:v1")
    assert there.stdout == here.stdout
    first, *_ = json.loads(invoke("list", "--remote", "--json").stdout)
    assert first["tag"] == "m:v2"
    assert (first["files"], first["labels"], first["digest"]) == (3, {"stage": "dev"}, None)
    assert first["pushed_at"] > first["created"]


def test_a_model_the_remote_does_not_have_is_not_found(pushed: World, invoke: Invoke) -> None:
    assert invoke("list", "--remote", "other").exit_code == 3
    assert invoke("delete", "-y", "--remote", "other").exit_code == 3


def test_delete_on_one_side_leaves_the_other(pushed: World, invoke: Invoke) -> None:
    result = invoke("delete", "-y", "--remote", "m:v1")
    assert re.fullmatch(r"Deleted m:v1 \(1\.00 MiB\)\n", result.stdout), result.stderr
    assert invoke("list", "-q").stdout.split() == ["m:v1"]
    assert invoke("list", "-q", "--remote").stdout.split() == ["m:v2"]
    assert invoke("delete", "-y", "m").exit_code == 0
    assert invoke("list", "-q", "--remote", "nas").stdout.split() == ["m:v2"]


def test_a_dry_run_names_everything_and_deletes_nothing(pushed: World, invoke: Invoke) -> None:
    assert invoke("delete", "--remote", "m", "--dry-run").stdout.splitlines() == [
        "Would delete m:v1 (1.00 MiB)",
        "Would delete m:v2 (1.00 MiB)",
    ]
    (plan,) = json.loads(invoke("delete", "m", "--dry-run", "--json").stdout)
    assert (plan["tag"], plan["dry_run"]) == ("m:v1", True)
    assert len(invoke("list", "-q", "--remote").stdout.split()) == 2
    assert invoke("list", "-q").stdout.split() == ["m:v1"]


def test_deleting_from_a_remote_without_a_terminal_needs_yes(pushed: World, invoke: Invoke) -> None:
    result = invoke("delete", "--remote", "m")
    assert result.exit_code == 2
    assert "try: add --yes" in result.stderr


def test_a_network_remote_is_not_listed_offline(world: World, invoke: Invoke) -> None:
    world.configure('[remote.far]\nurl = "s3://bucket/prefix"\n')
    result = invoke("list", "--remote", "far", "--offline")
    assert result.exit_code == 2
    assert "needs the network" in result.stderr


def test_the_url_of_a_model_is_the_folder_of_its_plain_files(pushed: World, invoke: Invoke) -> None:
    for asked, version in (("m", "v2"), ("m:v1", "v1")):
        url = invoke("get", asked, "-o", "url").stdout.strip()
        assert re.fullmatch(rf"file://{pushed.remote}/files/m/{version}-[a-z2-7]{{10}}/", url)
        assert (Path(url.removeprefix("file://")) / "model.yaml").is_file()
