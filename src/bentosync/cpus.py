"""How many CPUs this process may use; everything that sizes a pool of threads asks here.

A container with a limit of two CPUs on a host of 64 sees 64 of them: the limit is a quota of its control group, time
per period, and no mask. Threads beyond it only take each other's time and, once the quota is spent, all stand still
until the next period. So the count is the smallest of the affinity mask and the quotas of the group and of every group
above it, rounded up, and at least one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")
_TOP = PurePosixPath("/")


def usable(root: Path = _ROOT) -> int:
    """CPUs this process may use. `root` is where `proc` and `sys` are looked for; a test has its own."""
    quotas = (-(-quota // period) for quota, period in _quotas(root))
    return max(1, min([_allowed(), *quotas]))


def _allowed() -> int:
    """CPUs in the affinity mask."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[tuple[int, int]]:
    """Every quota that holds for this process, and its period; both in microseconds."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    groups = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            for mount in (groups, groups / "unified"):
                for folder in _upwards(mount, path):
                    yield from _pair(_words(folder / "cpu.max"))
        elif "cpu" in controllers.split(","):
            for mount in (groups / "cpu", groups / controllers):
                for folder in _upwards(mount, path):
                    yield from _pair(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """A group's folder and those above it. In a container the path may be the host's, of which only the top is seen."""
    group = PurePosixPath(path)
    for each in (group, *group.parents):
        if ".." not in each.parts:
            yield mount / each.relative_to(_TOP)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").split()
    except OSError:
        return []


def _pair(words: list[str]) -> Iterator[tuple[int, int]]:
    """Quota and period; none where there is no limit (`max`, or -1)."""
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0:
        yield int(words[0]), int(words[1])
