"""The choice between the compiled core and its twin; `Settings.native` says who chooses."""

from __future__ import annotations

from typing import Protocol

from bentosync.errors import MissingExtra
from bentosync.native import twin
from bentosync.native.twin import Bytes
from bentosync.settings.values import NativeMode


class Core(Protocol):
    """What both provide. Safe to call from any thread; the compiled one releases the GIL while it computes."""

    def crc64nvme(self, data: Bytes, initial: int = 0) -> int:
        """CRC-64/NVME of `data`, or of what `initial` is the checksum of followed by `data`."""
        ...


def core(mode: NativeMode = "auto") -> Core:
    """The compiled core if it was built and `mode` allows it, else the twin.

    Raises:
        MissingExtra: `mode` is "on" and there is no compiled core.
    """
    if mode == "off":
        return twin
    try:
        from bentosync.native import _core
    except ImportError as error:
        if mode == "on":
            raise MissingExtra(
                f"the compiled core of bentosync is required but cannot be loaded: {error}",
                hint="install g++ (C++20), then: pip install --force-reinstall --no-deps bentosync",
            ) from error
        return twin
    return _core


def compiled(mode: NativeMode = "auto") -> bool:
    """Whether `core(mode)` is the compiled one."""
    return core(mode) is not twin
