"""When a load from a remote reached each of its stages, in seconds since it was called."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(slots=True)
class Timeline:
    """Stages in order; 0.0: not reached.

    `resolved`: the manifest is here. Tensors count when they are handed out. `published` happens behind the call.
    """

    resolved: float = 0.0
    planned: float = 0.0
    first_byte: float = 0.0
    first_tensor: float = 0.0
    last_tensor: float = 0.0
    published: float = 0.0

    def reach(self, stage: str, began: float) -> None:
        """Note the first time a stage is reached; `began` is of `time.perf_counter`."""
        if not getattr(self, stage):
            setattr(self, stage, time.perf_counter() - began)
