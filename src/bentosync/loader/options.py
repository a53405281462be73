"""What a caller asked for, checked once, before anything is opened."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from bentosync.errors import InvalidArgument
from bentosync.events import Observer, Warned
from bentosync.loader.device import DType, parse_dtype
from bentosync.loader.selection import RowPlan, Selector

Verify = Literal["off", "auto", "full", "strong"]
Staging = Literal["auto", "force"]


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments `load_to_device`, `iter_tensors` and `open_tensors` share; see there for what they mean."""

    device: Any
    tensors: Selector
    dtype: DType | None
    plan: RowPlan
    verify: Verify
    staging: Staging
    own: bool
    strict: bool
    on_event: Observer | None

    @property
    def warn(self) -> Callable[[str], None]:
        """Where warnings go: to the observer if there is one, else to `warnings`."""
        on_event = self.on_event
        if on_event is None:
            # 2 is the place below; the caller's own line is not reachable from a reader's thread.
            return lambda message: warnings.warn(message, RuntimeWarning, stacklevel=2)
        return lambda message: on_event(Warned(message))


def options(
    device: Any,
    *,
    tensors: Selector = None,
    dtype: Any = None,
    plan: RowPlan = None,
    verify: str = "auto",
    staging: str = "auto",
    own: bool = False,
    strict: bool = False,
    on_event: Observer | None = None,
) -> Options:
    """Options, or InvalidArgument naming the argument that is not one."""
    if verify not in ("off", "auto", "full", "strong"):
        raise InvalidArgument(f"verify={verify!r} is not one of off, auto, full, strong")
    if staging not in ("auto", "force"):
        raise InvalidArgument(f"staging={staging!r} is not one of auto, force")
    return Options(
        device=device,
        tensors=tensors,
        dtype=parse_dtype(dtype),
        plan=plan,
        verify=verify,  # type: ignore[arg-type]
        staging=staging,  # type: ignore[arg-type]
        own=own,
        strict=strict,
        on_event=on_event,
    )


def refuse_later(*, cache: str) -> None:
    """A parameter whose work is not there yet is refused by name, never ignored."""
    if cache != "tee":
        raise NotImplementedError(f"cache={cache!r} is not there yet: what is loaded from a remote is pulled first")
