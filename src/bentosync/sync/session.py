"""Where settings, store and remote meet: the outermost layer of a transfer, shared by the API and the loader."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bentosync.errors import InvalidArgument
from bentosync.events import Observer
from bentosync.redaction import guard_log
from bentosync.remote.contract import Remote
from bentosync.remote.open import open_remote
from bentosync.remote.retrying import Clock
from bentosync.settings import RemoteSettings, Settings, choose_remote, remote_at
from bentosync.store.store import Store
from bentosync.sync import pull as pulling
from bentosync.sync.pull import Pulled, Verify
from bentosync.sync.watch import Watch
from bentosync.tag import Tag, parse_reference


def opened_store(settings: Settings) -> Store:
    """The store that the settings name."""
    return Store(settings.home, state_dir=settings.state_dir)


@asynccontextmanager
async def opened_remote(
    chosen: RemoteSettings, settings: Settings, observer: Observer, *, clock: Clock | None = None
) -> AsyncIterator[Remote]:
    """The remote, closed at the end of the block. `clock` is the time between tries, injected by tests.

    Raises:
        InvalidArgument: It is behind a network and the settings say offline.
    """
    if settings.offline and not chosen.url.startswith("file:"):
        raise InvalidArgument(
            f"{chosen.url} needs the network, and offline is set",
            hint="leave out --offline, or unset BENTOSYNC_OFFLINE",
        )
    guard_log()
    remote = open_remote(
        chosen,
        settings.transfer,
        observer=observer,
        cache_dir=settings.cache_dir,
        native=settings.native,
        clock=clock,
    )
    try:
        yield remote
    finally:
        await remote.aclose()


def origin_of(store: Store, tag: Tag, settings: Settings) -> RemoteSettings:
    """The remote that a version was pulled from; the default remote if it was made here."""
    known = store.record(tag)
    if known is None or known.origin is None:
        return choose_remote(settings)
    return remote_at(settings, known.origin.remote)


async def pull_version(
    tag: Tag | str, *, remote: str | None, force: bool, verify: Verify, settings: Settings, observer: Observer
) -> Pulled:
    """Make a remote's version a version of the local store; errors as `sync.pull.pull`."""
    watch = Watch(observer, "pull")
    async with opened_remote(choose_remote(settings, remote), settings, watch) as source:
        return await pulling.pull(
            opened_store(settings),
            source,
            parse_reference(tag),
            settings=settings,
            watch=watch,
            force=force,
            verify=verify,
        )
