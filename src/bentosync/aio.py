"""The operations as coroutines: `await bentosync.aio.pull("m:v1")` inside a running loop.

This is where settings, store and remote meet; everything below takes them as arguments. What moves models is here; what
keeps store and remotes in order lives in `upkeep` and is found here too.

Each operation imports what it alone needs: together that takes as long as a small pull.
"""

from __future__ import annotations

import asyncio
import warnings
from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from bentosync import events
from bentosync import settings as configuration
from bentosync.events import Finished, Observer, ignore
from bentosync.settings import Settings
from bentosync.store.model import Model
from bentosync.store.proof import Strength
from bentosync.sync.pull import Verify
from bentosync.sync.selection import Selection
from bentosync.sync.session import opened_remote, opened_store, pull_version
from bentosync.sync.watch import Watch
from bentosync.tag import Tag, check_alias, parse_reference

if TYPE_CHECKING:
    from bentosync.loader.load import Ref
    from bentosync.loader.selection import RowPlan, Selector
    from bentosync.loader.stream import LoadedTensors
    from bentosync.sync import plan as planning
    from bentosync.sync.checkout import CheckedOut
    from bentosync.upkeep import (
        delete_remote,
        gc_remote,
        list_aliases,
        list_remote,
        prune,
        remove_alias,
        repair,
        set_alias,
        verify_remote,
    )

__all__ = [
    "Strength",
    "Verify",
    "checkout",
    "copy",
    "delete_remote",
    "gc_remote",
    "list_aliases",
    "list_remote",
    "load_to_device",
    "plan_pull",
    "plan_push",
    "prune",
    "pull",
    "push",
    "remove_alias",
    "repair",
    "set_alias",
    "verify_remote",
]

_LOAD_ENDS_SECONDS = 2.0
"""How long a cancelled load is waited for; one that is stuck in the kernel ends by itself, later."""


def __getattr__(name: str) -> Any:
    """What lives in `upkeep`, which is imported when the first of it is wanted."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bentosync import upkeep

    found = globals()[name] = getattr(upkeep, name)
    return found


async def push(
    tag: Tag | str,
    *,
    remote: str | None = None,
    force: bool = False,
    as_is: bool = False,
    resend: bool = False,
    aliases: Sequence[str] = (),
    single_writer: bool | None = None,
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> Finished:
    """Publish a version of the local store on a remote.

    Args:
        tag: `name:version`, or a name for its latest version.
        remote: A configured remote's name, or a URL; None for the default remote.
        force: Replace other content under the same name, if the local files are what they were when they were recorded.
        as_is: With `force`, replace it even by files that changed since.
        resend: Send every file again although the remote has the same version: its bytes were found damaged.
        aliases: Names that are to mean this version from now on, as in `m@prod`.
        single_writer: Go on although the remote ignores conditional writes.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told what happens (`bentosync.events`).

    Returns:
        What was moved and what was there already.

    Raises:
        NotFound: No such version, or no remote is configured.
        Conflict, IntegrityError, AuthError, NetworkError, LocalIOError: See `bentosync.errors`.
    """
    from bentosync.sync import alias as aliasing
    from bentosync.sync import push as pushing

    for alias in aliases:
        check_alias(alias)
    settings = settings or configuration.load()
    chosen = configuration.choose_remote(settings, remote)
    store = opened_store(settings)
    model = store.get(tag)
    watch = Watch(on_event, "push")
    async with opened_remote(chosen, settings, watch) as target:
        finished = await pushing.push(
            store,
            target,
            model,
            settings=settings,
            watch=watch,
            force=force,
            as_is=as_is,
            resend=resend,
            single_writer=chosen.single_writer if single_writer is None else single_writer,
        )
        for alias in aliases:
            await aliasing.point(target, model.tag, alias)
        return finished


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
        tag: `name[:version][@b3:…]` or `name@alias`; with a pin every byte is checked against BLAKE3.
        remote: A configured remote's name, or a URL; None for the default remote.
        force: Replace other content under the same name.
        verify: `strong` adds BLAKE3 to the XXH3 that every byte is checked with anyway.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told what happens (`bentosync.events`).

    Raises:
        NotFound: The remote has no such version, or no remote is configured.
        Conflict, IntegrityError, AuthError, NetworkError, NoSpace, LocalIOError: See `bentosync.errors`.
    """
    pulled = await pull_version(
        tag,
        remote=remote,
        force=force,
        verify=verify,
        settings=settings or configuration.load(),
        observer=on_event,
    )
    return pulled.model


async def checkout(
    tag: Tag | str,
    *,
    to: Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    remote: str | None = None,
    force: bool = False,
    verify: Verify = "auto",
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> CheckedOut:
    """Some or all files of a remote's version, as plain files in a folder if `to` names one.

    Args:
        tag: `name[:version][@b3:…]`.
        to: A folder for plain copies; the store keeps what it fetched, sharing blocks with them where it can.
        include: Patterns such as `*.json`; without any, everything is meant. A version of which not all files were
            fetched is not in the store; a later pull fetches only the rest.
        exclude: Patterns of what is not meant.
        remote: A configured remote's name, or a URL; None for the default remote.
        force: Replace other content under the same name, in the store and in the folder.
        verify: `strong` adds BLAKE3 to the XXH3 that every byte is checked with anyway.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told what happens (`bentosync.events`).

    Raises:
        NotFound: There is no such version, or nothing of it is selected.
        Conflict: Other bytes are under the same name.
        IntegrityError, AuthError, NetworkError, NoSpace, LocalIOError: See `bentosync.errors`.
    """
    from bentosync.sync import checkout as checking_out

    settings = settings or configuration.load()
    watch = Watch(on_event, "pull")
    async with opened_remote(configuration.choose_remote(settings, remote), settings, watch) as source:
        return await checking_out.checkout(
            opened_store(settings),
            source,
            parse_reference(tag),
            selection=Selection(tuple(include), tuple(exclude)),
            to=to,
            settings=settings,
            watch=watch,
            force=force,
            verify=verify,
        )


async def copy(
    tag: Tag | str,
    *,
    source: str,
    target: str,
    force: bool = False,
    single_writer: bool | None = None,
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> Finished:
    """Copy a version from one remote to another through this machine's memory; the copy has the same pin.

    Args:
        tag: `name[:version][@b3:…]`; a name means the source's latest.
        source: A configured remote's name, or a URL.
        target: The other one.
        force: Replace other content under the same name on the target.
        single_writer: Go on although the target ignores conditional writes.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told what happens (`bentosync.events`).

    Raises:
        NotFound: The source has no such version, or a remote is not configured.
        Conflict, IntegrityError, AuthError, NetworkError: See `bentosync.errors`.
    """
    from bentosync.sync import copy as copying

    settings = settings or configuration.load()
    chosen = configuration.choose_remote(settings, target)
    watch = Watch(on_event, "copy")
    async with (
        opened_remote(configuration.choose_remote(settings, source), settings, watch) as origin,
        opened_remote(chosen, settings, watch) as destination,
    ):
        return await copying.copy(
            opened_store(settings),
            origin,
            destination,
            parse_reference(tag),
            settings=settings,
            watch=watch,
            force=force,
            single_writer=chosen.single_writer if single_writer is None else single_writer,
        )


async def plan_push(
    tag: Tag | str,
    *,
    remote: str | None = None,
    force: bool = False,
    as_is: bool = False,
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> planning.Plan:
    """What `push` would send, without sending it. Raises as `push` would."""
    from bentosync.sync import plan as planning

    settings = settings or configuration.load()
    store = opened_store(settings)
    model = store.get(tag)
    async with opened_remote(configuration.choose_remote(settings, remote), settings, on_event) as target:
        return await planning.plan_push(store, target, model, force=force, as_is=as_is)


async def plan_pull(
    tag: Tag | str,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    remote: str | None = None,
    force: bool = False,
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> planning.Plan:
    """What `pull` (or `checkout`) would fetch, without fetching it. Raises as `pull` would."""
    from bentosync.sync import plan as planning

    settings = settings or configuration.load()
    selection = Selection(tuple(include), tuple(exclude))
    async with opened_remote(configuration.choose_remote(settings, remote), settings, on_event) as source:
        return await planning.plan_pull(
            opened_store(settings), source, parse_reference(tag), selection=selection, force=force
        )


async def load_to_device(
    ref: Ref,
    device: Any = "cuda",
    *,
    tensors: Selector = None,
    dtype: Any = None,
    plan: RowPlan = None,
    remote: str | None = None,
    cache: str = "tee",
    verify: str = "auto",
    staging: str = "auto",
    own: bool = False,
    strict: bool = False,
    refresh: bool = False,
    on_event: Observer | None = None,
    settings: Settings | None = None,
) -> LoadedTensors:
    """`bentosync.load_to_device` without blocking the loop: it runs in a worker thread.

    A load that is cancelled ends at its next event, and has freed what it allocated when this raises: as a rule at
    once, after two seconds at most.
    """
    given = locals()
    # Imported here: torch takes two seconds, and nothing else in this module needs it.
    from bentosync.loader.load import stream_of
    from bentosync.loader.options import Options
    from bentosync.loader.stream import LoadedTensors

    stop = Event()

    def observe(event: events.Event) -> None:
        if stop.is_set():
            raise CancelledError
        if on_event is not None:
            on_event(event)
        elif isinstance(event, events.Warned):
            warnings.warn(event.message, RuntimeWarning, stacklevel=2)

    asked = replace(Options.of(given), on_event=observe)
    work = asyncio.get_running_loop().run_in_executor(None, lambda: LoadedTensors.of(stream_of(ref, asked, kept=True)))
    try:
        return await asyncio.shield(work)
    except CancelledError:
        stop.set()
        await asyncio.wait([work], timeout=_LOAD_ENDS_SECONDS)
        if work.done():
            work.exception()  # whatever became of it, somebody has looked
        raise
