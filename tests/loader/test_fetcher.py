"""A remote on a loop of its own, for threads."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bentosync.loader.fetcher import Fetcher
from bentosync.loader.staging import Stopped
from bentosync.remote.contract import Remote


@asynccontextmanager
async def nothing() -> AsyncIterator[Any]:
    """What is called never looks at it."""
    yield object()


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    fetcher = Fetcher(nothing)
    yield fetcher
    fetcher.close()


class Memory:
    """What a call borrows."""


async def _fails(remote: Remote, memory: Memory) -> None:
    raise OSError("no")


def test_an_error_that_is_dropped_takes_all_it_held_with_it_at_once(fetcher: Fetcher) -> None:
    memory = Memory()
    gone = weakref.ref(memory)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(OSError, match="no"):
            fetcher.call(lambda remote, memory=memory: _fails(remote, memory))  # type: ignore[misc]
        del memory
        fetcher.call(_idle)  # the loop's own frame of the last call is over then
        assert gone() is None
    finally:
        gc.enable()


async def _idle(remote: Remote) -> int:
    return 7


def test_a_fetcher_that_was_stopped_refuses_until_it_is_resumed(fetcher: Fetcher) -> None:
    assert fetcher.call(_idle) == 7
    fetcher.stop()
    with pytest.raises(Stopped):
        fetcher.call(_idle)
    fetcher.resume()
    assert fetcher.call(_idle) == 7
    fetcher.close()
    fetcher.resume()
    with pytest.raises(Stopped):
        fetcher.call(_idle)
