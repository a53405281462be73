"""What `bench_coldstart --goals` measures beside its arms: a second start, four processes at once, a share of the rows,
and how many exchanges the first tensor waits for. Each returns lines like those of a run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perf import model
from perf.bench_coldstart import OURS, command_of, measure, result_of
from perf.null_server import serve
from perf.side_by_side import Workspace

Row = dict[str, Any]

ROUND_TRIP_SECONDS = 0.1
"""So long that what the machine itself takes is small beside it."""

FOUR = 4
_FOUR_RATE = 0.5


def cases(workspace: Workspace, far: Workspace, expected: str) -> list[tuple[str, Callable[[], list[Row]]]]:
    """By name. `far` holds a model of sixteen shards."""
    return [
        ("second start", lambda: second_start(workspace, expected)),
        ("four processes", lambda: four(workspace)),
        ("an eighth of the rows", lambda: eighth(workspace)),
        ("exchanges", lambda: exchanges(far)),
    ]


def second_start(workspace: Workspace, expected: str) -> list[Row]:
    """The version that a streamed load published, and the same files as a folder; both from the page cache."""
    measure(OURS, workspace, {}, "cpu", expected, keep_target=True)
    rows = []
    for arm in ("bentosync second start", "bentosync local folder"):
        with serve(workspace.served) as server:
            workspace.run(command_of(arm, workspace, "cpu"), server)
        rows.append({"arm": arm} | result_of(workspace, arm, expected))
        rows[-1]["server_bytes"] = server.report["bytes_out"]
    shutil.rmtree(workspace.target)
    return rows


def four(workspace: Workspace) -> list[Row]:
    """Four processes that begin together, on an empty store, over a line of 0.5 GB/s; and one alone."""
    rows = []
    for count in (1, FOUR):
        _clear(workspace)
        go = workspace.root / "go"
        go.unlink(missing_ok=True)
        with serve(workspace.served, conditions={"rate-total": f"{_FOUR_RATE * 1e9:.0f}"}) as server:
            command = command_of(OURS, workspace, "cpu")
            environment = {"PATH": os.environ["PATH"], "HOME": str(workspace.root), "PERF_GO": str(go)}
            environment |= server.environment | command.environment
            children = [
                subprocess.Popen(command.words, env=environment, stdout=subprocess.PIPE, text=True, cwd=workspace.root)
                for _ in range(count)
            ]
            try:
                for child in children:
                    assert child.stdout is not None
                    child.stdout.readline()  # "ready": imports are outside the clock
                go.touch()
                results = [json.loads(child.communicate(timeout=120)[0].splitlines()[-1]) for child in children]
            finally:
                for child in children:
                    child.kill()
        rows.append({
            "arm": f"{count} at once",
            "seconds": max(result["seconds"] for result in results),
            "server_bytes": server.report["bytes_out"],
        })  # fmt: skip
    return rows


def eighth(workspace: Workspace) -> list[Row]:
    """`plan=` with an eighth of every matrix, as one of eight ranks asks for."""
    _clear(workspace)
    with serve(workspace.served) as server:
        workspace.run(command_of("bentosync rows", workspace, "cpu"), server)
    return [{"arm": "bentosync rows", "server_bytes": server.report["bytes_out"]} | result_of(workspace)]


def exchanges(far: Workspace) -> list[Row]:
    """Sixteen shards behind a long line: round trips until the first tensor is there."""
    rows = []
    for arm in ("bentosync first tensor", "bentosync first tensor by name"):
        _clear(far)
        with serve(far.served, conditions={"round-trip": str(ROUND_TRIP_SECONDS)}) as server:
            far.run(command_of(arm, far, "cpu"), server)
        result = result_of(far)
        round_trips = result["stages"]["first tensor"] / ROUND_TRIP_SECONDS
        rows.append({"arm": arm, "round_trips": round_trips} | result)
    return rows


def far_shape(size: int) -> model.Shape:
    """Sixteen shards."""
    return model.Shape(size, shards=16, small=4)


def _clear(workspace: Workspace) -> None:
    for folder in (workspace.target, workspace.cache):
        shutil.rmtree(folder, ignore_errors=True)
    Path(workspace.target).mkdir()
