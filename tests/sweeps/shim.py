"""The shim (shim.c) from Python: compiled once a session, preloaded into the processes that shall fail."""

from __future__ import annotations

import ctypes
import enum
import os
import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("shim.c")


class Mode(enum.IntEnum):
    """What happens at the n-th call; the numbers are those of shim.c."""

    OFF = 0
    COUNT = 1
    KILL = 2
    """The process dies just before the call."""
    TEAR = 3
    """The n-th write writes half, then the process dies."""
    FAIL = 4
    """This one call fails with an errno."""
    FAIL_ON = 5
    """This call and all later ones fail."""
    SIGNAL = 6
    """The process gets a signal, and the call goes on."""
    STOP = 7
    """The process stops before and after every call that syncs or names something."""


def compile_shim(folder: Path) -> Path | None:
    """Build the library with the system's compiler; None if there is none."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    library = folder / "shim.so"
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", library, _SOURCE, "-ldl"], check=True
    )
    return library


def environment(library: Path) -> dict[str, str]:
    """The environment of a process with the shim."""
    return {**os.environ, "LD_PRELOAD": str(library), "PYTHONDONTWRITEBYTECODE": "1"}


class Shim:
    """The shim of this process, which was started with it. What it saw in a forked child can be asked for later."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.shim_calls.restype = ctypes.c_long
        self._library.shim_fired.restype = ctypes.c_long
        self._library.shim_signalled.restype = ctypes.c_double
        self._library.shim_unsynced.restype = ctypes.c_ulong

    def arm(self, mode: Mode, nth: int = 0, number: int = 0, *, prefix: Path) -> None:
        """From now on count calls below `prefix`, and do what `mode` says at the n-th."""
        self._library.shim_arm(int(mode), ctypes.c_long(nth), number, os.fsencode(prefix))

    def forbid_exchange(self) -> None:
        """Let two folders not be exchanged by one rename, as on NFS."""
        self._library.shim_exchanges(0)

    def forbid_sync(self) -> None:
        """Let syncs below the prefix do nothing and say that all is well."""
        self._library.shim_syncs(0)

    @property
    def calls(self) -> int:
        """Calls since it was armed."""
        return int(self._library.shim_calls())

    @property
    def fired(self) -> int:
        """How often it did something."""
        return int(self._library.shim_fired())

    @property
    def signalled(self) -> float:
        """The monotonic clock when the signal was sent."""
        return float(self._library.shim_signalled())

    @property
    def unsynced(self) -> list[int]:
        """Inodes whose sync was made to fail."""
        return [inode for index in range(64) if (inode := self._library.shim_unsynced(index))]
