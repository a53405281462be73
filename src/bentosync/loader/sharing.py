"""Who fetches, when several processes of one machine load the same version: one of them; the others read its partial.

The lock of the version, the same that a pull holds, says who. Whoever has it leads: it fetches, writes and publishes.
Who finds it taken follows: blocks are taken from the partial as they are claimed there. A leader that is gone leaves
the lock behind, and the follower that gets it leads on. A leader that claims nothing for a while is not waited for.

Locks save double work and nothing relies on them: every block is proven by whoever reads it, and where locks lie
everybody leads, at the cost of a download each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from bentosync.errors import BentoMLException, Busy
from bentosync.loader.proof import Proof
from bentosync.loader.shelf import Shelf
from bentosync.loader.staging import Stopped
from bentosync.store.store import Store
from bentosync.tag import Tag

_POLL_SECONDS = 0.01
_TRY_SECONDS = 0.25
"""How often a follower looks whether the leader is gone."""


def take_turn(store: Store, tag: Tag) -> ExitStack | None:
    """The version's lock, or None if somebody has it.

    Raises:
        LocalIOError: The store cannot be written.
    """
    turn = ExitStack()
    try:
        turn.enter_context(store.lock(tag, seconds=0))
    except Busy:
        return None
    return turn


class Following:
    """The wait for somebody else's blocks. `obtain` may be called from any thread.

    Args:
        shelf: Where the blocks appear.
        patience_seconds: How long nothing may appear before the network is asked after all.
        lead: Called once, with the lock, when the leader is gone and the version is not published.
    """

    def __init__(
        self,
        store: Store,
        tag: Tag,
        shelf: Shelf,
        *,
        patience_seconds: float,
        lead: Callable[[ExitStack], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._tag = tag
        self._shelf = shelf
        self._patience = patience_seconds
        self._lead = lead
        self._clock = clock
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._stopped = threading.Event()
        self._claimed = -1
        self._moved_at = self._tried_at = clock()

    @property
    def waits(self) -> bool:
        """Whether there is still somebody to wait for."""
        return not self._over.is_set()

    def obtain(self, proof: Proof, offset: int, memory: memoryview) -> bool:
        """Fill `memory` from the shelf as soon as it is there; False: nobody brings it. Raises Stopped."""
        while True:
            over = self._over.is_set()
            if self._shelf.holds(proof.entry.path, offset, len(memory)):
                return self._shelf.read(proof, offset, memory)
            if over:
                return False
            if self._stopped.wait(_POLL_SECONDS):
                raise Stopped
            if self._lock.acquire(blocking=False):
                try:
                    self._look()
                finally:
                    self._lock.release()

    def descriptor(self, path: str) -> int | None:
        """A file of which something was obtained, open until the shelf is closed; None: it is not there."""
        return self._shelf.descriptor(path)

    def stop(self) -> None:
        """Nobody waits any more."""
        self._stopped.set()

    def _look(self) -> None:
        """See what has changed; one thread at a time."""
        if self._over.is_set():
            return
        self._shelf.refresh()
        now, claimed = self._clock(), self._shelf.claimed_bytes()
        if claimed != self._claimed:
            self._claimed, self._moved_at = claimed, now
        if now - self._tried_at >= _TRY_SECONDS:
            self._tried_at = now
            self._try_to_lead()
        if now - self._moved_at >= self._patience:
            self._over.set()

    def _try_to_lead(self) -> None:
        try:
            turn = take_turn(self._store, self._tag)
        except BentoMLException:
            turn = None
        if turn is None:
            return
        if self._store.find(self._tag) is not None:
            turn.close()
            self._shelf.publish()
        else:
            self._lead(turn)
        self._over.set()
