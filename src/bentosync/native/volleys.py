"""Whether the compiled core sends volleys: `_core.volley` (see `_core.pyi`), with `bentosync.wire.core_lanes` over it.

It stands on epoll. There is no twin here: `bentosync.wire.lanes` is it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bentosync.native import select
from bentosync.settings.values import NativeMode


def volley(mode: NativeMode = "auto") -> Callable[..., Any] | None:
    """The core's function, if there is one.

    Raises:
        MissingExtra: `mode` is "on" and there is no compiled core.
    """
    return getattr(select.core(mode), "volley", None)
