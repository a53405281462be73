"""Ours and the rivals in one run: shuffled within every round, a fresh process and a fresh null server each, contents
compared outside the clock. The three `bench_*` scripts choose what is moved; everything they share is here.

A round is one run of every arm, close together in time, so ratios are taken within rounds: what the machine did to one
arm it most likely did to its neighbours. `durable` rounds count the rivals' `sync -f` of the target folder into their
time; bentosync always ends with its files synced, so in the other rounds it does more than they do.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.request import urlopen

from perf import model, process, report, rivals
from perf.null_server import BUCKET, NullServer, serve

REMOTE_PREFIX = "perf"
OURS = "bentosync"

Way = Literal["pull", "push"]

# Some rivals abort now and then (obstore ends with SIGABRT and not a word): that costs them the round, not the run.
_FAILURES_MAX = 3
SETTLED_SECONDS = 2.1


@dataclass(frozen=True)
class Bench:
    """What is measured: the name it is reported under, the model's shape, the ways, and whom it is measured against."""

    name: str
    shape: model.Shape
    ways: tuple[Way, ...]
    rivals: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """Everything but the arm. `durable` only means something for pulls."""

    way: Way
    tls: bool
    durable: bool
    conditions: dict[str, str] = field(default_factory=dict)


class Arm(Protocol):
    """Somebody who moves the model."""

    name: str

    def prepare(self, case: Case) -> None:
        """Leave nothing of an earlier run. Outside the clock."""

    def command(self, case: Case, server: NullServer) -> rivals.Command | None:
        """What to run; None if this arm cannot do it."""

    def moved(self, case: Case) -> Path:
        """The folder that a pull filled, or the prefix below the bucket that a push fills."""


@dataclass(frozen=True)
class Ours:
    """bentosync's own command line. A first push knows no digests; a repeated one has them from before."""

    workspace: Workspace
    name: str = OURS
    digests_known: bool = False
    native: str = "auto"

    def prepare(self, case: Case) -> None:
        _empty(self.workspace.target)
        shutil.rmtree(self.workspace.cache, ignore_errors=True)
        state = self.workspace.publisher / ".bentosync"
        if case.way == "push":
            shutil.rmtree(state, ignore_errors=True)
        if self.digests_known:
            shutil.copytree(self.workspace.known, state)

    def command(self, case: Case, server: NullServer) -> rivals.Command | None:
        home = self.workspace.target if case.way == "pull" else self.workspace.publisher
        return rivals.Command(
            [str(Path(sys.executable).with_name("bentosync")), "-q", case.way, model.TAG],
            {"BENTOML_HOME": str(home), "BENTOSYNC_REMOTE": f"s3://{BUCKET}/{REMOTE_PREFIX}",
             "BENTOSYNC_CACHE_DIR": str(self.workspace.cache), "BENTOSYNC_PROGRESS": "none",
             "BENTOSYNC_NATIVE": self.native},
        )  # fmt: skip

    def moved(self, case: Case) -> Path:
        if case.way == "pull":
            return self.workspace.target / self.workspace.files.relative_to(self.workspace.publisher)
        return _folder_of_files(self.workspace.kept)


@dataclass(frozen=True)
class Theirs:
    """A rival, copying the same objects or the same files."""

    workspace: Workspace
    rival: rivals.Rival

    @property
    def name(self) -> str:
        return self.rival.name

    def prepare(self, case: Case) -> None:
        _empty(self.workspace.target)

    def command(self, case: Case, server: NullServer) -> rivals.Command | None:
        tls = server.ca_bundle is not None
        if case.way == "push":
            return self.rival.push(rivals.Job(self.workspace.files, "theirs/", server.endpoint_url, tls))
        command = self.rival.pull(rivals.Job(self.workspace.target, self.workspace.prefix, server.endpoint_url, tls))
        if command is None or not case.durable:
            return command
        synced = ["sh", "-c", '"$@" && sync -f "$0"', str(self.workspace.target), *command.words]
        return rivals.Command(synced, command.environment)

    def moved(self, case: Case) -> Path:
        return self.workspace.target if case.way == "pull" else self.workspace.kept / BUCKET / "theirs"


@dataclass(frozen=True)
class Workspace:
    """Where everything lies: the source, what the server serves, what it keeps, and where pulls go."""

    root: Path

    publisher = property(lambda self: self.root / "publisher")
    served = property(lambda self: self.root / "served")
    kept = property(lambda self: self.root / "kept")
    target = property(lambda self: self.root / "target")
    cache = property(lambda self: self.root / "cache")
    known = property(lambda self: self.root / "known")
    log = property(lambda self: self.root / "client.log")
    files = property(lambda self: self.root / "publisher" / "models" / "m" / "v1")

    @property
    def prefix(self) -> str:
        """Where our push put the files that everybody pulls."""
        folder = _folder_of_files(self.served)
        return f"{folder.relative_to(self.served / BUCKET).as_posix()}/"

    def fill(self, shape: model.Shape) -> None:
        """Make the model, and push it once to a server that keeps it. Of a hollow one it keeps links to the files."""
        model.make(self.publisher, shape)
        if shape.hollow:
            shutil.copytree(self.files, self.root / "links", copy_function=os.link)
        # What changed a moment ago may change again unnoticed: its digests would not be remembered.
        time.sleep(SETTLED_SECONDS)
        (self.served / BUCKET).mkdir(parents=True)
        with serve(None if shape.hollow else self.served, keep=not shape.hollow) as server:
            command = Ours(self).command(Case("push", False, False), server)
            assert command is not None
            self.run(command, server)
            if shape.hollow:
                self._serve_links(server)
        shutil.copytree(self.publisher / ".bentosync", self.known)

    def _serve_links(self, server: NullServer) -> None:
        """What the server dropped is the model's own files; what it holds are the documents.

        The links are older than the push: making them changes what the digests of the files are remembered by.
        """
        root = self.served / BUCKET / REMOTE_PREFIX
        for key in ("models/m/v1.jsonl", "models/m/latest"):
            with urlopen(f"{server.endpoint_url}/{BUCKET}/{REMOTE_PREFIX}/{key}") as reply:
                (root / key).parent.mkdir(parents=True, exist_ok=True)
                (root / key).write_bytes(reply.read())
        envelope = json.loads((root / "models/m/v1.jsonl").read_bytes().partition(b"\n")[0])
        (root / "files" / "m").mkdir(parents=True)
        (self.root / "links").rename(root / "files" / "m" / f"v1-{envelope['push']}")

    def run(self, command: rivals.Command, server: NullServer) -> process.Usage:
        """One command in a clean environment."""
        base = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        environment = base | {"HOME": str(self.root)} | server.environment | command.environment
        return process.run(command.words, environment, log=self.log)


def measure(case: Case, arm: Arm, workspace: Workspace, shape: model.Shape) -> dict[str, Any] | None:
    """One run of one arm; None if it cannot. A pull's files are compared with the source, byte for byte."""
    arm.prepare(case)
    with serve(workspace.served if case.way == "pull" else None, tls=case.tls, conditions=case.conditions) as server:
        command = arm.command(case, server)
        if command is None:
            return None
        used = workspace.run(command, server)
    if case.way == "pull":
        _compare(workspace.files, arm.moved(case), arm.name)
    elif server.report["bytes_in"] < shape.payload_bytes:
        raise RuntimeError(f"{arm.name} sent {server.report['bytes_in']} of {shape.payload_bytes} bytes")
    _empty(workspace.target)
    return {
        "seconds": used.seconds,
        "user_seconds": used.user_seconds,
        "sys_seconds": used.sys_seconds,
        "rss_bytes": used.rss_bytes,
        "server_cpu_seconds": server.report["cpu_seconds"],
        "connections": server.report["connections"],
        "requests": sum(server.report["requests"].values()),
    }


def check_push(case: Case, arm: Arm, workspace: Workspace) -> dict[str, Any] | None:
    """One uncounted push to a server that keeps the bytes, compared with the source; None if the arm cannot."""
    arm.prepare(case)
    shutil.rmtree(workspace.kept, ignore_errors=True)
    (workspace.kept / BUCKET).mkdir(parents=True)
    with serve(workspace.kept, tls=case.tls, keep=True) as server:
        command = arm.command(case, server)
        if command is not None:
            workspace.run(command, server)
    if command is not None:
        _compare(workspace.files, arm.moved(case), arm.name)
    shutil.rmtree(workspace.kept)
    return None if command is None else {}


def main(bench: Bench, docstring: str | None) -> None:
    """The command line of a `bench_*` script."""
    parser = argparse.ArgumentParser(description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="rounds; a goal wants at least 7")
    parser.add_argument("--size", type=model.parse_size, default=bench.shape.size)
    parser.add_argument("--small", type=int, default=bench.shape.small, help="number of small files")
    parser.add_argument("--schemes", nargs="+", choices=["http", "https"], default=["http", "https"])
    parser.add_argument("--durable", choices=["both", "yes", "no"], default="both")
    parser.add_argument("--rivals", nargs="*", default=list(bench.rivals))
    parser.add_argument("--python", type=Path, default=rivals.environment(), help="environment the rivals live in")
    parser.add_argument("--folder", type=Path, help="where the files lie; a temporary folder by default")
    parser.add_argument("--out", type=Path, help="append JSON lines here; a table goes to stdout")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    shape = model.Shape(arguments.size, bench.shape.shards, arguments.small, bench.shape.small_bytes)
    found = rivals.installed(arguments.python, arguments.rivals) if arguments.rivals else {}
    with tempfile.TemporaryDirectory(prefix="bentosync-perf-", dir=arguments.folder) as folder:
        workspace = Workspace(Path(folder))
        workspace.fill(shape)
        facts = process.machine() | {
            "file_system": process.file_system(workspace.root),
            "versions": {name: rival.version() for name, rival in found.items()},
            "missing": sorted(set(arguments.rivals) - set(found)),
        }
        rows: list[dict[str, Any]] = [{"bench": bench.name, "machine": facts, "shape": vars(shape)}]
        _emit(rows[0], arguments.out)
        durables = {"both": [True, False], "yes": [True], "no": [False]}[arguments.durable]
        for case in [
            Case(way, scheme == "https", durable)
            for way in bench.ways
            for scheme in arguments.schemes
            for durable in (durables if way == "pull" else [False])
        ]:
            arms: list[Arm] = [Ours(workspace), *(Theirs(workspace, rival) for rival in found.values())]
            if case.way == "pull" and case.tls:
                arms.insert(1, Ours(workspace, f"{OURS}, not compiled", native="off"))
            if case.way == "push":
                arms.insert(1, Ours(workspace, f"{OURS}, digests known", digests_known=True))
            for row in rounds(case, arms, workspace, shape, pairs=arguments.pairs, seed=arguments.seed):
                rows.append({"bench": bench.name} | row)
                _emit(rows[-1], arguments.out)
    print(report.table(rows))


def rounds(
    case: Case, arms: Sequence[Arm], workspace: Workspace, shape: model.Shape, *, pairs: int, seed: int
) -> Iterator[dict[str, Any]]:
    """`pairs` rounds of every arm that can. A failure is a row too; an arm that keeps failing is left out."""
    common = {
        "way": case.way,
        "scheme": "https" if case.tls else "http",
        "durable": case.durable,
        "bytes": shape.payload_bytes,
        "files": shape.small + shape.shards,
    } | case.conditions
    draw = random.Random(seed)
    able = list(arms)
    failures: Counter[str] = Counter()
    for number in range(-1 if case.way == "push" else 0, pairs):
        for arm in draw.sample(able, len(able)):
            try:
                result = check_push(case, arm, workspace) if number < 0 else measure(case, arm, workspace, shape)
            except RuntimeError as error:
                result = {"failed": str(error)[-400:]}
                failures[arm.name] += 1
            if result is None or failures[arm.name] == _FAILURES_MAX:
                able.remove(arm)
            if result:
                yield common | {"round": number, "arm": arm.name} | result


def _folder_of_files(root: Path) -> Path:
    """The plain files of the one version below `root`; packs lie beside them."""
    folders = (root / BUCKET / REMOTE_PREFIX / "files" / "m").iterdir()
    return next(folder for folder in folders if folder.suffix != ".packs")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _compare(wanted: Path, found: Path, who: str) -> None:
    done = subprocess.run(["diff", "-rq", str(wanted), str(found)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{who} gave other bytes:\n{done.stdout[:2000]}{done.stderr[:500]}")


def _emit(row: dict[str, Any], out: Path | None) -> None:
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
