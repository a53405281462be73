"""push and pull end to end over a file remote: results, summaries, no-ops, batches, hostile remotes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, Spawn, World


@pytest.fixture
def pushed(world: World, invoke: Invoke) -> World:
    """`m:v1` is on the remote and in the store."""
    world.model(size_bytes=3 << 20, shards=2)
    assert invoke("push", "m").exit_code == 0
    return world


def test_push_says_bentomls_line_and_what_moved(world: World, invoke: Invoke) -> None:
    world.model(size_bytes=3 << 20, shards=2)
    result = invoke("push", "m")
    assert (result.exit_code, result.stdout) == (0, 'Successfully pushed model "m:v1"\n')
    assert re.search(r"^Pushing m:v1 to file:///\S+/remote   5 files, 3\.0\d MiB$", result.stderr, re.MULTILINE)
    summary = r"^  sent 3\.0\d MiB, reused 0 B, 0 retries, \d\.\d+s \(.* MiB/s\), bound by \w+$"
    assert re.search(summary, result.stderr, re.MULTILINE)


def test_a_second_push_moves_nothing_and_says_so(pushed: World, invoke: Invoke) -> None:
    result = invoke("push", "m")
    assert re.fullmatch(r"Up to date: m:v1 \(5 files, 3\.0\d MiB, checked in \d+\.\d+s\)\n", result.stdout)
    (report,) = json.loads(invoke("push", "m", "--json").stdout)
    assert (report["outcome"], report["moved_bytes"], report["reused_bytes"]) == (
        "up-to-date",
        0,
        report["total_bytes"],
    )


def test_a_pull_brings_back_every_byte(pushed: World, invoke: Invoke) -> None:
    before = tree(pushed)
    invoke("delete", "-y", "m")
    result = invoke("pull", "m")
    assert (result.exit_code, result.stdout) == (0, 'Successfully pulled model "m:v1"\n')
    assert re.search(r"^  received 3\.0\d MiB, reused 0 B, 0 retries, ", result.stderr, re.MULTILINE)
    assert tree(pushed) == before
    assert invoke("pull", "m").stdout.startswith("Up to date: m:v1 (5 files, ")


def test_a_quiet_pull_prints_one_path_and_nothing_else(pushed: World, invoke: Invoke) -> None:
    invoke("delete", "-y", "m")
    for _ in range(2):
        result = invoke("pull", "-q", "m")
        assert (result.stdout, result.stderr) == (f"{pushed.store.get('m').path}\n", "")


def test_json_is_one_document_with_path_and_figures(pushed: World, invoke: Invoke) -> None:
    invoke("delete", "-y", "m")
    (report,) = json.loads(invoke("pull", "m:v1", "--json").stdout)
    assert report["path"] == pushed.store.get("m").path
    assert report["moved_bytes"] == report["total_bytes"] == pushed.store.get("m").file_size
    assert report["digest"] == pushed.store.describe(pushed.store.get("m")).pin


def test_a_pin_is_followed_and_a_wrong_one_refused(pushed: World, invoke: Invoke) -> None:
    pin = json.loads(invoke("get", "m", "--json").stdout)["digest"]
    invoke("delete", "-y", "m")
    wrong = invoke("pull", f"m:v1@b3:{'0' * 64}")
    assert wrong.exit_code in (6, 7)
    assert not pushed.store.list()
    assert invoke("pull", f"m:v1@{pin}").exit_code == 0


def test_models_push_and_pull_take_bentomls_options(world: World, invoke: Invoke) -> None:
    world.model()
    assert invoke("models", "push", "m:v1", "-f", "-t", "3").stdout == 'Successfully pushed model "m:v1"\n'
    assert invoke("models", "push", "m:v1", "-t", "0").exit_code == 2
    invoke("delete", "-y", "m")
    assert invoke("models", "pull", "m:v1", "-f").stdout == 'Successfully pulled model "m:v1"\n'


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("bentofile.yaml", "service: x\nmodels:\n  - a:v1\n  - tag: b:v1\n"),
        ("pyproject.toml", '[tool.bentoml.build]\nmodels = ["a:v1", {tag = "b:v1"}]\n'),
    ],
)
def test_models_pull_without_a_tag_reads_the_bentofile(world: World, invoke: Invoke, file: str, text: str) -> None:
    for tag in ("a:v1", "b:v1"):
        world.model(tag)
        assert invoke("push", tag).exit_code == 0
        invoke("delete", "-y", tag)
    Path(file).write_text(text)
    assert invoke("models", "pull").exit_code == 0
    assert [str(model.tag) for model in world.store.list()] == ["a:v1", "b:v1"]


def test_models_pull_without_anything_to_pull_is_usage(invoke: Invoke) -> None:
    assert invoke("models", "pull").exit_code == 2
    Path("bentofile.yaml").write_text("service: x\n")
    assert invoke("models", "pull").exit_code == 2
    Path("bentofile.yaml").write_text("a: [\n")
    assert invoke("models", "pull").exit_code == 2
    assert invoke("models", "pull", "-F", "elsewhere.yaml").exit_code == 2


def test_other_content_under_the_tag_is_a_conflict_unless_forced(pushed: World, invoke: Invoke) -> None:
    invoke("delete", "-y", "m")
    pushed.model(size_bytes=2 << 20, seed=1)
    refused = invoke("push", "m")
    assert refused.exit_code == 7
    assert refused.stderr.splitlines()[-2].startswith("error[CONFLICT]: m:v1 exists on file://")
    assert "--force" in refused.stderr.splitlines()[-1]
    assert invoke("pull", "m").exit_code == 7
    assert invoke("push", "m", "--force").exit_code == 0


def test_one_bad_model_does_not_stop_the_others(world: World, invoke: Invoke) -> None:
    world.model("a:v1")
    world.model("b:v1")
    result = invoke("push", "a", "nope:v1", "b")
    assert result.exit_code == 10
    assert result.stdout == 'Successfully pushed model "a:v1"\nSuccessfully pushed model "b:v1"\n'
    assert "error[NOT-FOUND]: nope:v1: " in result.stderr
    assert result.stderr.splitlines()[-1] == "error[BATCH]: 1 of 3 failed"


def test_in_a_pipe_there_is_no_carriage_return(pushed: World, spawn: Spawn) -> None:
    process = spawn("push", "--force", "m")
    assert process.returncode == 0
    assert "\r" not in process.stderr
    assert "\x1b" not in process.stderr


def test_json_progress_is_json_lines_on_stderr(pushed: World, spawn: Spawn) -> None:
    spawn("delete", "-y", "m")
    process = spawn("pull", "m", "--progress", "json")
    lines = [json.loads(line) for line in process.stderr.splitlines()]
    assert lines[0]["event"] == "phase"
    assert [line["event"] for line in lines if line["event"] in ("start", "done")] == ["start", "done"]
    assert {line["v"] for line in lines} == {1}


def tree(world: World) -> dict[str, bytes]:
    root = Path(world.store.get("m").path)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_pull_to_a_folder_leaves_plain_files_there(pushed: World, invoke: Invoke) -> None:
    invoke("delete", "-y", "m")
    result = invoke("pull", "m", "--to", "plain")
    assert (result.exit_code, result.stdout) == (0, 'Successfully pulled model "m:v1"\n'), result.stderr
    assert re.search(r"^  plain: copied \S+ \S+, shared \S+ \S+, there already 0 B$", result.stderr, re.MULTILINE)
    assert Path("plain/model.yaml").is_file()
    assert invoke("pull", "-q", "m", "--to", "plain").stdout == "plain\n"


def test_a_pull_of_some_files_says_how_to_get_the_rest(pushed: World, invoke: Invoke) -> None:
    invoke("delete", "-y", "m")
    result = invoke("pull", "m", "--include", "*.json", "--to", "plain")
    assert result.exit_code == 0, result.stderr
    assert re.fullmatch(r"Pulled \d+ files? of m:v1 to plain\n", result.stdout)
    assert "the rest: bentosync pull m:v1" in result.stderr
    assert invoke("list", "-q").stdout == ""
    (report,) = json.loads(invoke("pull", "m", "--exclude", "*.safetensors", "--json").stdout)
    assert report["complete"] is False
    assert invoke("pull", "a", "b", "--to", "plain").exit_code == 2


def test_a_dry_run_says_what_would_move_and_moves_nothing(world: World, invoke: Invoke) -> None:
    world.model(size_bytes=3 << 20, shards=2)
    push = invoke("push", "m", "--dry-run")
    moved = r"^Would send 3\.0\d MiB of 3\.0\d MiB to file:///\S+ for m:v1 \(0 B already there\)$"
    assert re.search(moved, push.stdout, re.MULTILINE), push.stdout
    assert list(world.remote.iterdir()) == []
    invoke("push", "m")
    assert "Would send 0 B of 3.0" in invoke("push", "m", "--dry-run").stdout
    assert "Would fetch 0 B of 3.0" in invoke("pull", "m", "--dry-run").stdout
    invoke("delete", "-y", "m")
    (plan,) = json.loads(invoke("pull", "m", "--dry-run", "--json").stdout)
    assert (plan["move_bytes"], plan["reused_bytes"], plan["tag"]) == (plan["total_bytes"], 0, "m:v1")
    assert not list(world.store.list())
    assert invoke("pull", "m", "--include", "*-00001-*").exit_code == 0
    (rest,) = json.loads(invoke("pull", "m", "--dry-run", "--json").stdout)
    fetched = [file["path"] for file in rest["files"] if file["move_bytes"] == 0]
    assert len(fetched) == 1
    assert "-00001-" in fetched[0]


def test_a_dry_run_conflicts_like_the_real_thing(pushed: World, invoke: Invoke) -> None:
    invoke("delete", "-y", "m")
    pushed.model(size_bytes=1 << 20, seed=5)
    assert invoke("push", "m", "--dry-run").exit_code == 7
    assert invoke("pull", "m:v1", "--dry-run").exit_code == 7
    assert invoke("push", "m", "--dry-run", "--force").exit_code == 0
    assert invoke("pull", "m:v1", "--dry-run", "--force").exit_code == 0
