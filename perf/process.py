"""One command in a fresh process: wall time, CPU of its whole tree, peak memory. And what machine that was on."""

from __future__ import annotations

import os
import platform
import resource
import signal
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Usage:
    """What a command took. `rss_bytes` is the peak of the largest process in the tree."""

    seconds: float
    user_seconds: float
    sys_seconds: float
    rss_bytes: int

    @property
    def cpu_seconds(self) -> float:
        return self.user_seconds + self.sys_seconds


def run(command: Sequence[str], environment: Mapping[str, str], *, log: Path, timeout_seconds: float = 900) -> Usage:
    """Run `command` to its end.

    The kernel hands the peak memory of the process that forks down to its child, so whoever calls this stays small:
    nothing here imports numpy.

    Raises:
        RuntimeError: It failed or took too long; the message ends with what it said.
    """
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=dict(environment), stdout=output, stderr=output, cwd=log.parent, start_new_session=True
        )
        try:
            status, used = _wait(process.pid, began + timeout_seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # it has a session of its own: Ctrl-C does not reach it
            process.wait()
            raise
        seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
    return Usage(seconds, used.ru_utime, used.ru_stime, used.ru_maxrss << 10)


def _wait(pid: int, deadline: float) -> tuple[int, resource.struct_rusage]:
    """As wait4, with an end; the first second is watched closely, so that short runs are not rounded up."""
    pause = 0.0005
    while True:
        found, status, used = os.wait4(pid, os.WNOHANG)
        if found:
            return status, used
        if time.perf_counter() > deadline:
            raise RuntimeError("the command took too long and was killed")
        time.sleep(pause)
        pause = min(pause * 1.1, 0.005)


def machine() -> dict[str, Any]:
    """The facts without which a number means nothing."""
    models = {line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")}
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "cpu": " / ".join(sorted(models)) or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory) / (1 << 20), 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "commit": _commit(),
        "load_at_start": round(os.getloadavg()[0], 1),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def file_system(path: Path) -> str:
    """The type of the file system `path` lies on, such as ext4 or tmpfs."""
    best = ("", "unknown")
    for line in _lines("/proc/mounts"):
        _, point, kind, *_ = line.split()
        if f"{path.resolve()}/".startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _commit() -> str | None:
    folder = Path(__file__).parents[1]
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True)
    return done.stdout.strip() or None
