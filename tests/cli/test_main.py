"""The program as a whole: what it costs to start, where options go, how every outcome ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bentosync.cli.commands import config, models, remote
from bentosync.cli.group import LazyGroup
from bentosync.cli.main import root
from tests.cli.conftest import Invoke, Spawn, World, command

GROUPS = {"bentosync": root, "models": models.models, "remote": remote.remote, "config": config.config}
HEAVY = ("aiohttp", "asyncio", "botocore", "blake3", "numpy", "tomlkit", "torch", "tqdm", "yaml")


def modules_after(*arguments: str) -> set[str]:
    """Everything that a run of the command line had imported by its end."""
    code = f"""
import sys
from bentosync.cli.main import root
try:
    root.main({list(arguments)!r})
finally:
    print(*sys.modules, file=sys.stderr)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(process.stderr.split())


def test_help_lists_every_command_and_imports_none(spawn: Spawn, world: World) -> None:
    shown = spawn("--help")
    assert shown.returncode == 0
    for name in root.list_commands(None):
        assert f"\n  {name} " in shown.stdout
    modules = modules_after("--help")
    assert not [name for name in modules if name.startswith("bentosync.cli.commands.")]
    assert not set(HEAVY) & modules


def test_a_list_imports_neither_network_nor_numbers(spawn: Spawn, world: World) -> None:
    world.model()
    modules = modules_after("list")
    network = {"aiohttp", "asyncio", "botocore", "email.utils", "hashlib", "http.client", "ssl", "xml.etree"}
    numbers = {"blake3", "fractions", "numpy", "statistics", "torch", "xxhash"}
    assert not (network | numbers | {"difflib", "importlib.metadata", "shutil", "tomlkit", "tqdm", "yaml"}) & modules


@pytest.mark.parametrize("name", GROUPS)
def test_the_summary_in_a_table_is_the_commands_own(name: str) -> None:
    group = GROUPS[name]
    assert isinstance(group, LazyGroup)
    for command_name, entry in group._table.items():
        found = group.get_command(None, command_name)
        assert found is not None
        assert found.get_short_help_str(200) == entry.summary
        assert found.name == command_name


def test_aliases_are_the_same_command() -> None:
    for alias, name in (("ls", "list"), ("rm", "delete"), ("inspect", "get")):
        assert root.get_command(None, alias) is root.get_command(None, name)


def test_a_mistyped_command_gets_a_suggestion(invoke: Invoke) -> None:
    result = invoke("pul", "m")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error[USAGE]: No such command 'pul'. Did you mean 'pull'?\n  try: bentosync --help\n"


def test_a_mistyped_option_gets_a_suggestion(invoke: Invoke) -> None:
    result = invoke("list", "--jsn")
    assert result.exit_code == 2
    assert "--json" in result.stderr
    assert result.stderr.endswith("try: bentosync list --help\n")


def test_no_command_shows_the_help_as_a_usage_error(invoke: Invoke) -> None:
    result = invoke()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Commands:" in result.stderr


def test_global_options_stand_before_or_after_the_command(invoke: Invoke) -> None:
    before, after = invoke("--json", "version"), invoke("version", "--json")
    assert before.stdout == after.stdout
    assert json.loads(after.stdout)["version"]


def test_the_version_is_also_an_option(invoke: Invoke) -> None:
    assert invoke("--version").stdout == invoke("version").stdout


def test_a_later_global_option_wins(invoke: Invoke, world: World) -> None:
    world.model()
    empty = str(world.base / "empty")
    assert "m:v1" in invoke("--store", empty, "list", "--store", str(world.base / "bentoml")).stdout
    assert "m:v1" not in invoke("list", "--store", empty).stdout


def test_an_error_is_one_line_and_what_to_try(invoke: Invoke) -> None:
    result = invoke("get", "nope:v1")
    assert (result.exit_code, result.stdout) == (3, "")
    first, *rest = result.stderr.splitlines()
    assert first.startswith("error[NOT-FOUND]: ")
    assert all(line.startswith(("  try: ", "       ")) for line in rest)


def test_an_error_is_one_document_with_json(invoke: Invoke) -> None:
    result = invoke("--json", "--remote", "nope", "push", "m")
    document = json.loads(result.stderr)
    assert (document["v"], document["event"], document["code"]) == (1, "error", "NOT-FOUND")
    assert document["exit"] == result.exit_code == 3
    assert document["try"]


def test_a_traceback_needs_two_vs(invoke: Invoke) -> None:
    assert "Traceback" not in invoke("-v", "get", "nope").stderr
    assert "Traceback" in invoke("-vv", "get", "nope").stderr


def test_colour_is_for_terminals_or_on_request(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in invoke("get", "nope").stderr
    assert "\x1b[31m" in invoke("--color", "always", "get", "nope").stderr
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in invoke("get", "nope").stderr


def test_a_reader_that_goes_away_is_no_drama(world: World) -> None:
    for number in range(400):
        (world.base / f"bentoml/models/m{number:03d}/v").mkdir(parents=True)
        yaml = f"name: m{number:03d}\nversion: v\nmodule: ''\nlabels: {{}}\noptions: {{}}\nmetadata: {{}}\n"
        yaml += "context:\n  framework_name: ''\n  framework_versions: {}\n  bentoml_version: 1.4.39\n"
        yaml += "  python_version: 3.11.7\nsignatures: {}\napi_version: v1\n"
        yaml += "creation_time: '2026-11-22T06:48:03.729032+00:00'\n"
        (world.base / f"bentoml/models/m{number:03d}/v/model.yaml").write_text(yaml)
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(command("list"), stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, "")


def test_home_may_be_missing_when_bentoml_home_is_set(spawn: Spawn, world: World) -> None:
    world.model()
    bare = {"PATH": os.environ["PATH"], "BENTOML_HOME": os.environ["BENTOML_HOME"]}
    process = subprocess.run(command("list"), capture_output=True, text=True, env=bare, check=False)
    assert process.returncode == 0
    assert "m:v1" in process.stdout


def test_the_script_and_the_module_are_the_same_program(spawn: Spawn) -> None:
    script = subprocess.run(
        [str(Path(sys.executable).with_name("bentosync")), "version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert script.stdout == spawn("version").stdout


def test_a_terminal_that_knows_few_letters_gets_escapes_not_a_traceback(spawn: Spawn) -> None:
    process = spawn("pull", "--help", PYTHONIOENCODING="latin-1")
    assert process.returncode == 0
    assert "MODEL@b3:\\u2026" in process.stdout


def test_a_full_disk_behind_stdout_is_said_with_its_status(world: World) -> None:
    world.model()
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(command("list"), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 8
    assert process.stderr.startswith("error[NO-SPACE]: ")
