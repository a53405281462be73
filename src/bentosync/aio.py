"""The operations as coroutines: `await bentosync.aio.pull("m:v1")` inside a running loop.

This is where settings, store and remote meet; everything below takes them as arguments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bentosync import settings as configuration
from bentosync.errors import InvalidArgument
from bentosync.events import Finished, Observer, ignore
from bentosync.remote.contract import Remote
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, Settings
from bentosync.store.model import Model
from bentosync.store.store import Store
from bentosync.sync import pull as pulling
from bentosync.sync import push as pushing
from bentosync.sync.pull import Verify
from bentosync.sync.watch import Watch
from bentosync.tag import Tag, parse_reference


async def push(
    tag: Tag | str,
    *,
    remote: str | None = None,
    force: bool = False,
    single_writer: bool | None = None,
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> Finished:
    """Publish a version of the local store on a remote.

    Args:
        tag: `name:version`, or a name for its latest version.
        remote: A configured remote's name, or a URL; None for the default remote.
        force: Replace other content under the same name.
        single_writer: Go on although the remote ignores conditional writes.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told what happens (`bentosync.events`).

    Returns:
        What was moved and what was there already.

    Raises:
        NotFound: No such version, or no remote is configured.
        Conflict, IntegrityError, AuthError, NetworkError, LocalIOError: See `bentosync.errors`.
    """
    settings = settings or configuration.load()
    chosen = configuration.choose_remote(settings, remote)
    store = Store(settings.home, state_dir=settings.state_dir)
    model = store.get(tag)
    watch = Watch(on_event, "push")
    async with _opened(chosen, settings, watch) as target:
        return await pushing.push(
            store,
            target,
            model,
            settings=settings,
            watch=watch,
            force=force,
            single_writer=chosen.single_writer if single_writer is None else single_writer,
        )


async def pull(
    tag: Tag | str,
    *,
    remote: str | None = None,
    force: bool = False,
    verify: Verify = "auto",
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> Model:
    """Make a remote's version a version of the local store; a name without version means the remote's latest.

    Args:
        tag: `name[:version][@b3:…]`; with a pin every byte is checked against BLAKE3.
        remote: A configured remote's name, or a URL; None for the default remote.
        force: Replace other content under the same name.
        verify: `strong` adds BLAKE3 to the XXH3 that every byte is checked with anyway.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told what happens (`bentosync.events`).

    Raises:
        NotFound: The remote has no such version, or no remote is configured.
        Conflict, IntegrityError, AuthError, NetworkError, NoSpace, LocalIOError: See `bentosync.errors`.
    """
    settings = settings or configuration.load()
    chosen = configuration.choose_remote(settings, remote)
    store = Store(settings.home, state_dir=settings.state_dir)
    watch = Watch(on_event, "pull")
    async with _opened(chosen, settings, watch) as source:
        pulled = await pulling.pull(
            store, source, parse_reference(tag), settings=settings, watch=watch, force=force, verify=verify
        )
    return pulled.model


@asynccontextmanager
async def _opened(chosen: RemoteSettings, settings: Settings, observer: Observer) -> AsyncIterator[Remote]:
    if settings.offline and not chosen.url.startswith("file:"):
        raise InvalidArgument(f"{chosen.url} needs the network, and offline is set", hint="unset BENTOSYNC_OFFLINE")
    remote = open_remote(
        chosen, settings.transfer, observer=observer, cache_dir=settings.cache_dir, native=settings.native
    )
    try:
        yield remote
    finally:
        await remote.aclose()
