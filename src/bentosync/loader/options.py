"""What a caller asked for, checked once, before anything is opened."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bentosync.errors import InvalidArgument
from bentosync.events import Observer, Warned
from bentosync.loader.device import parse_dtype
from bentosync.loader.selection import RowPlan, Selector
from bentosync.settings import Settings

_CHOICES = {
    "verify": ("off", "auto", "full", "strong"),
    "staging": ("auto", "force"),
    "cache": ("tee", "none", "first"),
}


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that `load_to_device`, `iter_tensors` and `open_tensors` take beside the model; see there.

    The public functions spell these names and defaults in their signatures (a test compares them), nobody else does.
    `dtype` may be given by name; here it is a torch.dtype or None.

    Raises:
        InvalidArgument: The argument it names is not one.
    """

    device: Any = "cuda"
    tensors: Selector = None
    dtype: Any = None
    plan: RowPlan = None
    remote: str | None = None
    cache: str = "tee"
    verify: str = "auto"
    staging: str = "auto"
    own: bool = False
    strict: bool = False
    refresh: bool = False
    on_event: Observer | None = None
    settings: Settings | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InvalidArgument(f"{name}={getattr(self, name)!r} is not one of {', '.join(choices)}")
        object.__setattr__(self, "dtype", parse_dtype(self.dtype))

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Options:
        """The options among a public function's arguments, given as its `locals()`."""
        return cls(**{name: value for name, value in arguments.items() if name != "ref"})

    @property
    def warn(self) -> Callable[[str], None]:
        """Where warnings go: to the observer if there is one, else to `warnings`."""
        on_event = self.on_event
        if on_event is None:
            # 2 is the place below; the caller's own line is not reachable from a reader's thread.
            return lambda message: warnings.warn(message, RuntimeWarning, stacklevel=2)
        return lambda message: on_event(Warned(message))
