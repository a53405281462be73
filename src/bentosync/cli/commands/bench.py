"""`bentosync bench`: what this machine, this network and this remote give, measured with the user's own model."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bentosync.cli import amounts, table
from bentosync.cli.group import Lazy, LazyGroup
from bentosync.cli.options import Command
from bentosync.cli.session import Session, pass_session
from bentosync.errors import BentoMLException
from bentosync.tag import parse_reference

_HERE = "bentosync.cli.commands.bench"

TABLE = {
    "coldstart": Lazy(f"{_HERE}:coldstart", "Time loading a model that is not here yet, stage by stage."),
}

WAYS: Mapping[str, str] = {"streamed": "tee", "uncached": "none", "pulled": "first"}
"""By name on the command line, the `cache` of the load."""

STAGES = ("resolved", "planned", "first_byte", "first_tensor", "last_tensor", "published")


@click.group(cls=LazyGroup, table=TABLE)
def bench() -> None:
    """Measure with your own model."""


@click.command(cls=Command)
@click.argument("model")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs of each way.")
@click.option("--way", "ways", type=click.Choice(list(WAYS)), multiple=True,
              help="streamed, uncached or pulled; repeatable. Default: all.")  # fmt: skip
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Where the empty stores are made. Default: the system's temporary folder.")  # fmt: skip
@pass_session
def coldstart(
    session: Session, model: str, device: str, rounds: int, ways: tuple[str, ...], folder: Path | None
) -> None:
    """Time loading a model that is not here yet, stage by stage.

    Every run is a process of its own with an empty store, which is removed afterwards; your own store is not touched.
    Times count from the call and leave out imports. `streamed` writes the store beside the load, `uncached` does not,
    `pulled` pulls first. Each run fetches the whole model from the remote.
    """
    parse_reference(model)
    remote = session.chosen_remote()
    rows: list[dict[str, Any]] = []
    for number in range(rounds):
        for way in ways or tuple(WAYS):
            session.say(f"round {number + 1} of {rounds}: {way}")
            report = _run(remote.name or remote.url, model, device, way, folder)
            rows.append({"way": way, "round": number} | report)
    if session.json:
        session.document({"model": model, "remote": remote.url, "runs": rows})
        return
    header = ("way", *(name.replace("_", " ") for name in STAGES), "in all", "rate")
    reports = {way: [row for row in rows if row["way"] == way] for way in dict.fromkeys(row["way"] for row in rows)}
    for line in table.lines(header, [_line(way, of_way) for way, of_way in reports.items()]):
        session.result(line)


def _run(remote: str, model: str, device: str, way: str, folder: Path | None) -> dict[str, Any]:
    """One load in a process of its own, into a store of its own; its report."""
    with tempfile.TemporaryDirectory(prefix="bentosync-bench-", dir=folder) as home:
        command = [sys.executable, "-m", "bentosync", "--json", "--progress", "none", "--store", home]
        command += ["--remote", remote, "load", model, "--device", device, "--cache", WAYS[way]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        try:
            failure = json.loads(done.stderr.splitlines()[-1])
            raise BentoMLException(f"{way}: {failure['message']}", hint="\n".join(failure["try"]) or None)
        except (ValueError, KeyError, IndexError):
            raise BentoMLException(f"{way}: {done.stderr[-500:]}") from None
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _line(way: str, reports: list[dict[str, Any]]) -> tuple[str, ...]:
    """Medians of one way."""
    cells = []
    for stage in STAGES:
        reached = [report["timeline"][stage] for report in reports if report["timeline"] and report["timeline"][stage]]
        cells.append(f"{statistics.median(reached):.3f} s" if reached else "")
    seconds = statistics.median(report["seconds"] for report in reports)
    return (way, *cells, f"{seconds:.3f} s", amounts.rate(reports[0]["bytes"] / seconds))
