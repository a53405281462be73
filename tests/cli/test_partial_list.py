"""A version of which only a part is here is marked in lists, counted, and completed later without fetching it again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bentosync.store.store import Store
from bentosync.tag import Tag
from tests.cli.conftest import Invoke, World

MIB = 1 << 20


@pytest.fixture
def pushed(world: World, invoke: Invoke) -> World:
    """`m:v1`, 8 MiB in two shards, is on the remote alone; `other:v1` is here."""
    world.model(size_bytes=8 * MIB, shards=2)
    invoke("push", "m")
    invoke("delete", "-y", "m")
    world.model("other:v1")
    return world


def partial_of(invoke: Invoke, tag: str = "m:v1") -> dict[str, object]:
    (row,) = [row for row in json.loads(invoke("list", "--json").stdout) if row["tag"] == tag]
    return row


def test_some_files_are_marked_and_the_rest_is_all_that_is_fetched(pushed: World, invoke: Invoke) -> None:
    assert invoke("pull", "m:v1", "--include", "*00001*").exit_code == 0
    lines = invoke("list").stdout.splitlines()
    assert lines[0].split() == ["Tag", "Module", "Size", "Creation", "Time", "State"]
    (line,) = [line for line in lines if line.strip().startswith("m:v1")]
    assert line.rstrip().endswith("partial: 1 file of 5, 50%")
    (whole,) = [line for line in lines if line.strip().startswith("other:v1")]
    assert "partial" not in whole
    row = partial_of(invoke)
    assert row["size_bytes"] > 8 * MIB
    assert 4 * MIB <= row["partial"]["have_bytes"] < 5 * MIB
    assert (row["partial"]["files"], row["partial"]["pulling"]) == (1, False)
    assert partial_of(invoke, "other:v1")["partial"] is None
    pulled = json.loads(invoke("pull", "m", "--json").stdout)[0]
    assert 4 * MIB <= pulled["reused_bytes"] < 5 * MIB
    assert row["digest"] == pulled["digest"] == partial_of(invoke)["digest"]
    assert partial_of(invoke)["partial"] is None
    assert "State" not in invoke("list").stdout


def test_a_part_is_no_version(pushed: World, invoke: Invoke) -> None:
    invoke("pull", "m:v1", "--include", "*.json")
    assert invoke("list", "-q").stdout == "other:v1\n"
    assert "m:v1" in invoke("list", "m").stdout
    assert "m:v1" in invoke("list", "m:v1").stdout
    assert invoke("list", "-q", "m").stdout == ""
    assert invoke("list", "nothing").exit_code == 3
    assert invoke("get", "m").exit_code == 3
    assert "m:v1" not in invoke("models", "list").stdout
    assert "m:v1" not in invoke("models", "list", "-o", "json").stdout


def test_a_pull_under_way_is_seen_as_such_and_not_disturbed(pushed: World, invoke: Invoke) -> None:
    invoke("pull", "m:v1", "--include", "*00001*")
    with pushed.store.lock(Tag("m", "v1"), seconds=1):
        assert "being pulled: 1 file of 5, 50%" in invoke("list").stdout
        assert partial_of(invoke)["partial"]["pulling"] is True
    assert partial_of(invoke)["partial"]["pulling"] is False


def test_a_leftover_of_a_version_that_is_here_is_not_listed(pushed: World, invoke: Invoke) -> None:
    invoke("pull", "m:v1", "--include", "*00001*")
    (partial,) = pushed.store.layout.partials.iterdir()
    manifest = (partial / "manifest.jsonl").read_bytes()
    invoke("pull", "m:v1")
    partial.mkdir()
    (partial / "manifest.jsonl").write_bytes(manifest)
    assert partial_of(invoke)["partial"] is None


@pytest.mark.parametrize("data", [b"", b"{}\n", b"\xff" * 100])
def test_a_partial_that_cannot_be_read_hides_nothing(pushed: World, invoke: Invoke, data: bytes) -> None:
    broken = pushed.store.layout.partial_dir("0" * 64)
    broken.mkdir(parents=True)
    (broken / "manifest.jsonl").write_bytes(data)
    (broken.parent / "stray").write_text("a file")
    assert invoke("list", "-q").stdout == "other:v1\n"


def test_asking_creates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    assert store.unfinished() == []
    assert not (tmp_path / "home").exists()


def test_a_list_without_parts_reads_no_digests(world: World) -> None:
    world.model()
    world.store.layout.partials.mkdir(parents=True)
    code = (
        "import sys; sys.argv = ['bentosync', 'list', '-q']\n"
        "try:\n from bentosync.cli.main import main; main()\n"
        "finally:\n print('blake3' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("m:v1\n", "False\n")
