"""What the operations of one process share: two pulls at once have one bound of memory and one rate between them.

A bound is the user's word about the machine, and it is the process that the machine sees. So whoever asks for a thing
by the same key while somebody has it gets that one; it goes away with the last who has it. Two operations that were
given different bounds share nothing: each keeps its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

Key = TypeVar("Key", bound=Hashable)
Shared = TypeVar("Shared")


class Commons(Generic[Key, Shared]):
    """Things made by `make`, one living at a time for each key. `of` may be called from any thread."""

    def __init__(self, make: Callable[[Key], Shared]) -> None:
        self._make = make
        self._begin()
        # What another thread holds or waits for would never be free again in the child.
        os.register_at_fork(after_in_child=self._begin)

    def of(self, key: Key) -> Shared:
        """The one that somebody has, or a new one. Keep it for as long as it shall be shared."""
        with self._lock:
            found = self._living.get(key)
            if found is None:
                found = self._living[key] = self._make(key)
            return found

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._living: WeakValueDictionary[Key, Shared] = WeakValueDictionary()
