"""The workers of a session: one per core, each with its own folder in memory, sharing every task point by point."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.sweeps import shim
from tests.sweeps.worker import Task

ROOT = Path(__file__).parents[2]
WORKERS = 2


@dataclass(frozen=True)
class Swept:
    """What the workers did together.

    `calls` is how many calls the operation makes when nothing disturbs it, `slowest` the seconds between a signal and
    the end of the process, at worst.
    """

    points: int
    calls: int
    slowest: float
    failures: tuple[str, ...]


class Pool:
    """Starts the workers; `close` ends them."""

    def __init__(self, library: Path, root: Path) -> None:
        self._workers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.sweeps.worker", str(root / f"worker-{number}")],
                cwd=ROOT,
                env=shim.environment(library),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(WORKERS)
        ]

    def sweep(self, task: Task) -> Swept:
        """Run all points of a task; raises `AssertionError` naming those that failed."""
        for number, worker in enumerate(self._workers):
            assert worker.stdin is not None
            share = replace(task, first=task.first + number, step=WORKERS, points_max=task.points_max // WORKERS)
            worker.stdin.write(json.dumps({**asdict(share), "mode": task.mode.name}) + "\n")
            worker.stdin.flush()
        results = [self._result(worker) for worker in self._workers]
        failures = tuple(failure for result in results for failure in result["failures"])
        return Swept(
            sum(result["points"] for result in results),
            max(result["calls"] for result in results),
            max(result["slowest"] for result in results),
            failures,
        )

    def _result(self, worker: subprocess.Popen[str]) -> dict:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        assert line, f"a worker died with {worker.wait()}"
        return json.loads(line)

    def close(self) -> None:
        """Let the workers end."""
        for worker in self._workers:
            worker.communicate(timeout=30)
