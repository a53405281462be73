"""A process that pulls, for tests that need several: forked from a server process that has imported everything once."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from bentosync import aio, events
from bentosync.errors import BentoMLException
from tests.faults.bench import settings

_WAIT_SECONDS = 60.0


def processes() -> ForkServerContext:
    """The context that makes them. The first use takes the environment along."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def start(
    context: ForkServerContext, home: Path, url: str, tag: str, environment: Mapping[str, str], report: Path
) -> ForkServerProcess:
    """Begin a pull in a process of its own; what came of it is written to `report`."""
    process = context.Process(target=_pull, args=(home, url, tag, dict(environment), report))
    process.start()
    return process


def _pull(home: Path, url: str, tag: str, environment: Mapping[str, str], report: Path) -> None:
    os.environ.update(environment)
    seen: list[events.Event] = []
    try:
        asyncio.run(aio.pull(tag, settings=settings(home, url), on_event=seen.append))
    except BentoMLException as error:
        report.write_text(json.dumps({"error": repr(error)}))
        return
    finished = next(event for event in seen if isinstance(event, events.Finished))
    waited = any(isinstance(event, events.Waiting) for event in seen)
    report.write_text(json.dumps({"outcome": finished.outcome, "moved": finished.moved_bytes, "waited": waited}))


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait, a minute at most."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
