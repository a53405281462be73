"""Reading on after a connection broke: a bounded number of times, from behind the last byte that arrived."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bentosync.errors import BentoMLException, NetworkError
from bentosync.events import Observer, Retried, ignore
from bentosync.formats.archive.member import Bytes
from bentosync.remote.retrying import RetryPolicy


@dataclass(frozen=True, slots=True)
class Patience:
    """When to try again, and who is told. Clock and chance are injected by tests."""

    policy: RetryPolicy
    observer: Observer = ignore
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random

    def pause(self, what: str, failures: int, error: BentoMLException) -> None:
        """Wait before the next try, or raise `error` if there shall be none."""
        if not error.retryable or failures >= self.policy.attempts:
            raise error
        seconds = self.policy.pause_seconds(failures, error, self.draw())
        self.observer(Retried(what, error.message, failures, seconds, error.code))
        self.sleep(seconds)


def resumed(stream: Callable[[int], Iterator[Bytes]], what: str, size: int, patience: Patience) -> Iterator[Bytes]:
    """Exactly `size` bytes from `stream`, which begins at any offset; whatever it has, if `size` is -1.

    Raises:
        NetworkError: It ended early again and again, or went on for longer.
        BentoMLException: Whatever `stream` raised when patience was at its end.
    """
    at = failures = 0
    while at != size:
        pieces = stream(at)
        try:
            for piece in pieces:
                at += len(piece)
                failures = 0
                if 0 <= size < at:
                    raise _odd(f"{what}: more than the {size} bytes that it has arrived", retryable=False)
                yield piece
            if size < 0:
                return
            if at < size:
                raise _odd(f"{what}: the connection ended at {at} of {size} bytes", retryable=True)
        except BentoMLException as error:
            failures += 1
            if size < 0 and at:
                raise  # nobody knows whether it can be read from there
            patience.pause(f"{what} at {at}", failures, error)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()


def _odd(message: str, *, retryable: bool) -> NetworkError:
    error = NetworkError(message)
    error.retryable = retryable
    return error
