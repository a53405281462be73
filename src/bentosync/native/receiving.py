"""Whether the compiled core can receive: `_core.Receiver` (see `_core.pyi`), with `bentosync.wire.native` over it.

It stands on epoll, and on an OpenSSL 3 that is found at run time. There is no twin here: `bentosync.wire.direct` is it.
"""

from __future__ import annotations

from enum import IntEnum

from bentosync.native import select
from bentosync.settings.values import NativeMode


class Fault(IntEnum):
    """Why an operation ended without success; the numbers are those of native/include/bentosync/channel.hpp."""

    NONE = 0
    ENDED = 1
    SYSTEM = 2
    TLS = 3
    UNTRUSTED = 4
    ENDLESS_HEAD = 5
    CLOSED = 6


def openssl_version(mode: NativeMode = "auto") -> str | None:
    """The OpenSSL that a core which can receive has found; None: no such core, or no such library.

    Raises:
        MissingExtra: `mode` is "on" and there is no compiled core.
    """
    if not select.compiled(mode):
        return None
    from bentosync.native import _core

    found = getattr(_core, "openssl_version", None)  # missing where the core cannot receive: not Linux
    return None if found is None else found()
