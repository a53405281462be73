"""How much memory a load may count on: what the system calls available, or less where a control group sets a limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def available_bytes(root: Path = _ROOT) -> int | None:
    """Bytes that can be taken without swapping, page cache that can be dropped included; None where nobody tells.

    Args:
        root: Where `proc` and `sys` are looked for; a test has its own.
    """
    found = [*_system(root), *_groups(root)]
    return min(found) if found else None


def _system(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) << 10


def _groups(root: Path) -> Iterator[int]:
    """What is left below every limit that holds for this process (control groups, version 2)."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers:
            continue
        group = PurePosixPath(path)
        for each in (group, *group.parents):
            folder = root / "sys/fs/cgroup" / each.relative_to("/")
            limit, used = _lines(folder / "memory.max"), _lines(folder / "memory.current")
            if limit and used and limit[0].isdecimal():
                yield max(0, int(limit[0]) - int(used[0]) + _droppable(folder))


def _droppable(folder: Path) -> int:
    """Page cache of the group that nobody used lately."""
    return sum(int(line.split()[1]) for line in _lines(folder / "memory.stat") if line.startswith("inactive_file "))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
