"""Packs on their way from one remote to another: copied as they are, because nobody trusts one."""

from __future__ import annotations

from collections.abc import Iterable

from bentosync.errors import BentoMLException, NetworkError
from bentosync.remote.contract import Remote
from bentosync.transfer.packs import PACK_BYTES_MAX
from bentosync.transfer.pool import shared_pool
from bentosync.transfer.sink import MemorySink


async def carry(source: Remote, target: Remote, packs: Iterable[tuple[str, str, int]], *, memory_bytes: int) -> None:
    """Copy packs, given key, new key and size in bytes of each; without them the copy is as good, only slower to pull.

    Raises:
        NetworkError: One of both cannot be reached.
        AuthError, NoSpace: The target refuses.
    """
    pool = shared_pool(memory_bytes)
    for key, new_key, size in packs:
        async with pool.lease(PACK_BYTES_MAX) as buffer:
            try:
                await source.read_range(key, 0, size, MemorySink(buffer[:size]))
            except NetworkError:
                raise
            except BentoMLException:
                return
            await target.write(new_key, [buffer[:size]])
