from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from bentosync.cli.options import Command
from bentosync.cli.session import Session, pass_session
from bentosync.cli.tuning import transfer_options
from tests.cli.conftest import Invoke, World


def stats(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text())
    assert (document["v"], document["bentosync"] != "") == (1, True)
    return document  # type: ignore[no-any-return]


def test_the_stats_of_a_push_and_a_pull_say_what_moved_and_what_bound_it(
    world: World, invoke: Invoke, tmp_path: Path
) -> None:
    world.model(size_bytes=3 << 20, shards=2)
    file = tmp_path / "stats.json"
    assert invoke("push", "m", "--stats-file", str(file)).exit_code == 0
    sent = stats(file)
    assert invoke("delete", "-y", "m").exit_code == 0
    assert invoke("pull", "m", "--stats-file", str(file)).exit_code == 0
    received = stats(file)
    for document, command in ((sent, "push"), (received, "pull")):
        (operation,) = document["operations"]
        assert (document["command"], operation["operation"], document["errors"]) == (command, command, [])
        assert operation["moved_bytes"] == operation["total_bytes"] > 3 << 20
        assert operation["report"]["bound_by"] in ("network", "disk", "cpu")
        assert operation["report"]["requests"] > 0
    assert list(tmp_path.glob(".stats*")) == []


def test_the_stats_of_a_batch_name_what_was_done_and_what_failed(world: World, invoke: Invoke, tmp_path: Path) -> None:
    world.model(size_bytes=1 << 20, shards=1)
    file = tmp_path / "stats.json"
    result = invoke("push", "m", "absent:v1", "--stats-file", str(file))
    document = stats(file)
    assert result.exit_code == 10
    assert [operation["tag"] for operation in document["operations"]] == ["m:v1"]
    assert [(error["what"], error["code"], error["exit"]) for error in document["errors"]] == [
        ("absent:v1", "NOT-FOUND", 3)
    ]


def test_a_single_failure_leaves_its_stats_too(world: World, invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "stats.json"
    assert invoke("pull", "absent:v1", "--stats-file", str(file)).exit_code == 3
    assert [error["what"] for error in stats(file)["errors"]] == ["absent:v1"]


def test_a_stats_file_without_a_folder_is_refused_before_anything_moves(
    world: World, invoke: Invoke, tmp_path: Path
) -> None:
    world.model(size_bytes=1 << 20, shards=1)
    result = invoke("push", "m", "--stats-file", str(tmp_path / "absent" / "stats.json"))
    assert result.exit_code == 2
    assert "there is no folder" in result.stderr
    assert not list((tmp_path / "remote").rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--jobs", "3"], "jobs", 3),
        (["--memory", "256MiB"], "memory_bytes", 256 << 20),
        (["--limit-rate", "50MiB/s"], "limit_bytes_per_second", 50 << 20),
        (["--limit-rate", "1 MB"], "limit_bytes_per_second", 10**6),
        (["--limit-rate", "none"], "limit_bytes_per_second", None),
    ],
)
def test_a_flag_is_the_setting_of_the_same_meaning(
    monkeypatch: pytest.MonkeyPatch, world: World, words: list[str], field: str, value: int | None
) -> None:
    monkeypatch.setenv("BENTOSYNC_LIMIT_RATE", "7MiB/s")
    seen = []

    @click.command(cls=Command)
    @transfer_options
    @pass_session
    def look(session: Session) -> None:
        seen.append(getattr(session.settings.transfer, field))

    assert CliRunner().invoke(look, words, obj=Session()).exit_code == 0
    assert seen == [value]


@pytest.mark.parametrize(
    "words",
    [["--jobs", "0"], ["--memory", "much"], ["--limit-rate", "fast"], ["--limit-rate", "-1"], ["--memory", "0"]],
)
def test_a_value_that_cannot_be_is_a_usage_error(world: World, invoke: Invoke, words: list[str]) -> None:
    assert invoke("pull", "m", *words).exit_code == 2
