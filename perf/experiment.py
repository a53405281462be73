"""One constant, several values, everything else as it is: what the `exp_*` scripts share.

A value is tried in a fresh process against a fresh null server, values in a new random order in every round. The best
one, and all that cannot be told from it, are the answer: of those, the experiment's own reason chooses.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf import model, process, side_by_side
from perf.null_server import BUCKET, serve

# Runs our own operation with settings and module constants that no user can set. argv: operation, settings, constants
# (both JSON; constants as "module:NAME").
_CHILD = """
import asyncio, importlib, json, sys
from bentosync import aio
from bentosync.settings.load import load
from msgspec.structs import replace
operation, settings, constants = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
for name, value in constants.items():
    module, _, constant = name.partition(":")
    setattr(importlib.import_module(module), constant, value)
loaded = load()
transfer = replace(loaded.transfer, **settings)
asyncio.run(getattr(aio, operation)("m:v1", settings=replace(loaded, transfer=transfer)))
"""


@dataclass(frozen=True)
class Setting:
    """A value under trial: fields of `TransferSettings`, constants by `module:NAME`, and the native mode."""

    label: str
    transfer: Mapping[str, int]
    constants: Mapping[str, int]
    native: str = "auto"


def transfer_seconds(
    workspace: side_by_side.Workspace, way: side_by_side.Way, setting: Setting, conditions: Mapping[str, str],
    *, tls: bool = False,
) -> tuple[float, float]:  # fmt: skip
    """Wall and CPU seconds of one push or pull with that setting."""
    used, _ = transferred(workspace, way, setting, conditions, tls=tls, native=setting.native)
    return used.seconds, used.cpu_seconds


def transferred(
    workspace: side_by_side.Workspace, way: side_by_side.Way, setting: Setting, conditions: Mapping[str, str],
    *, tls: bool = False, native: str = "auto",
) -> tuple[process.Usage, Mapping[str, Any]]:  # fmt: skip
    """What one push or pull with that setting took, and what the server did."""
    side_by_side.Ours(workspace).prepare(side_by_side.Case(way, tls, False))
    home = workspace.target if way == "pull" else workspace.publisher
    with serve(workspace.served if way == "pull" else None, tls=tls, conditions=conditions) as server:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(workspace.root), **server.environment,
            "BENTOML_HOME": str(home), "BENTOSYNC_REMOTE": f"s3://{BUCKET}/{side_by_side.REMOTE_PREFIX}",
            "BENTOSYNC_CACHE_DIR": str(workspace.cache), "BENTOSYNC_NATIVE": native,
        }  # fmt: skip
        words = [sys.executable, "-c", _CHILD, way, json.dumps(setting.transfer), json.dumps(setting.constants)]
        used = process.run(words, environment, log=workspace.log)
    return used, server.report


def sweep(
    folder: Path, shape: model.Shape, way: side_by_side.Way, settings: Sequence[Setting], *, rounds: int,
    weathers: Mapping[str, Mapping[str, str]], tls: bool = False,
) -> dict[str, str]:  # fmt: skip
    """Print a line for each weather and setting; the best label in each weather."""
    workspace = side_by_side.Workspace(folder)
    workspace.fill(shape)
    answers = {}
    for weather, conditions in weathers.items():
        taken: dict[str, list[tuple[float, float]]] = {setting.label: [] for setting in settings}
        draw = random.Random(1)
        for _ in range(rounds):
            for setting in draw.sample(settings, len(settings)):
                taken[setting.label].append(transfer_seconds(workspace, way, setting, conditions, tls=tls))
        answers[weather] = show(weather, way, taken, shape.payload_bytes)
    return answers


def parsed(docstring: str | None, weathers: Sequence[str]) -> argparse.Namespace:
    """The command line of an experiment with the number of requests in flight."""
    parser = argparse.ArgumentParser(description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=model.parse_size, default=1 << 30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--values", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--weathers", nargs="+", choices=list(weathers), default=list(weathers))
    parser.add_argument("--way", choices=["pull", "push"], default="pull")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path, help="append JSON lines here as well")
    return parser.parse_args()


def emit(row: Mapping[str, object], out: Path | None) -> None:
    """One JSON line, to stdout and to a file if there is one."""
    print(json.dumps(row), flush=True)
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def show(weather: str, way: str, taken: Mapping[str, Sequence[tuple[float, float]]], size: int) -> str:
    """Print what was found as JSON lines; the label with the least median wall time."""
    medians = {}
    for label, runs in taken.items():
        seconds = [run[0] for run in runs]
        medians[label] = statistics.median(seconds)
        row = {"weather": weather, "way": way, "value": label, "runs": len(runs), "seconds": round(medians[label], 3),
               "min": round(min(seconds), 3), "max": round(max(seconds), 3),
               "cpu_s_per_gib": round(statistics.median(run[1] for run in runs) / size * (1 << 30), 3)}  # fmt: skip
        print(json.dumps(row), flush=True)
    return min(medians, key=lambda label: medians[label])
