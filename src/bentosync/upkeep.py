"""What keeps store and remotes in order, as coroutines: repair; list, delete, inspect on a remote; clean-up, pruning.

`bentosync.aio` offers them beside the operations that move models.
"""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager

from bentosync import events
from bentosync import settings as configuration
from bentosync.errors import InvalidArgument
from bentosync.events import Finished, Observer, ignore
from bentosync.remote.contract import Remote
from bentosync.settings import Settings
from bentosync.store.proof import Strength
from bentosync.sync import alias as aliasing
from bentosync.sync import delete as deleting
from bentosync.sync import gc as collecting
from bentosync.sync import heads, writing
from bentosync.sync import inspect as inspecting
from bentosync.sync import prune as pruning
from bentosync.sync import repair as repairing
from bentosync.sync.alias import Alias
from bentosync.sync.heads import Head
from bentosync.sync.inspect import Inspected
from bentosync.sync.resolve import resolve
from bentosync.sync.session import opened_remote, opened_store, origin_of
from bentosync.sync.watch import Watch
from bentosync.tag import Tag, check_alias, parse_reference


async def repair(
    tag: Tag | str,
    *,
    remote: str | None = None,
    strength: Strength = "full",
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> Finished:
    """Make a damaged version of the local store whole again, fetching only the blocks that are bad or missing.

    Args:
        tag: `name:version`.
        remote: A configured remote's name, or a URL; None for the one it was pulled from, else the default remote.
        strength: `strong` proves BLAKE3 as well as XXH3.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told what happens (`bentosync.events`).

    Returns:
        `moved_bytes` says how much was fetched.

    Raises:
        NotFound: Nothing is remembered about the version, or the remote does not have it.
        Conflict: The remote's manifest is not the remembered one.
        IntegrityError, AuthError, NetworkError, NoSpace, LocalIOError: See `bentosync.errors`.
    """
    settings = settings or configuration.load()
    tag = Tag.from_taglike(tag)
    store = opened_store(settings)
    chosen = origin_of(store, tag, settings) if remote is None else configuration.choose_remote(settings, remote)
    watch = Watch(on_event, "repair")
    async with opened_remote(chosen, settings, watch) as source:
        return await repairing.repair(store, source, tag, settings=settings, watch=watch, strength=strength)


async def verify_remote(
    tag: Tag | str,
    *,
    remote: str | None = None,
    share: float | None = None,
    strength: Strength = "full",
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> Inspected:
    """Check a version where it lies on a remote: read its files, prove every block, keep nothing.

    Args:
        tag: `name[:version][@b3:…]`, or `name@alias`.
        remote: A configured remote's name, or a URL; None for the default remote.
        share: Of every file read so much, over 0 and at most 1, chosen at random; None for every byte.
        strength: `strong` proves BLAKE3 as well as XXH3.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told what happens (`bentosync.events`).

    Returns:
        What was read and which byte ranges are damaged or missing; none, if all is well.

    Raises:
        NotFound: There is no such version, or no remote is configured.
        IntegrityError: Its manifest is not the pinned one.
        InvalidArgument, UnsafeInput, AuthError, NetworkError: See `bentosync.errors`.
    """
    settings = settings or configuration.load()
    watch = Watch(on_event, "verify")
    async with opened_remote(configuration.choose_remote(settings, remote), settings, watch) as source:
        return await inspecting.inspect(
            source, parse_reference(tag), settings=settings, watch=watch, share=share, strength=strength
        )


async def list_remote(
    name: Tag | str | None = None,
    *,
    remote: str | None = None,
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> list[Head]:
    """The versions on a remote, sorted by tag, by reading the heads of their manifests only.

    Args:
        name: Those of one model, or one version; None for all.
        remote: A configured remote's name, or a URL; None for the default remote.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told about manifests that cannot be read, and about retries.

    Raises:
        NotFound: There is no such model or version, or no remote is configured.
        AuthError, NetworkError: See `bentosync.errors`.
    """
    settings = settings or configuration.load()

    def unreadable(tag: Tag, error: Exception) -> None:
        on_event(events.Warned(f"{tag} is not listed: {error}"))

    async with opened_remote(configuration.choose_remote(settings, remote), settings, on_event) as source:
        if name is not None:
            return await deleting.versions(source, Tag.from_taglike(name), jobs=settings.transfer.jobs)
        return await heads.read_all(source, None, jobs=settings.transfer.jobs, unreadable=unreadable)


async def delete_remote(
    version: Tag | str | Head,
    *,
    remote: str | None = None,
    single_writer: bool | None = None,
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> list[Head]:
    """Delete a version from a remote; a name without version means all its versions. The local store keeps its own.

    Args:
        version: What to delete; a `Head` from `list_remote` is deleted only if it is still the same.
        remote: A configured remote's name, or a URL; None for the default remote.
        single_writer: Go on although the remote ignores conditional writes.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told what happens (`bentosync.events`).

    Returns:
        What was deleted.

    Raises:
        NotFound: There is no such version, or no remote is configured.
        Conflict: It was pushed again meanwhile.
        AuthError, NetworkError: See `bentosync.errors`.
    """
    settings = settings or configuration.load()
    chosen = configuration.choose_remote(settings, remote)
    alone = chosen.single_writer if single_writer is None else single_writer
    async with opened_remote(chosen, settings, on_event) as target:
        if isinstance(version, Head):
            doomed = [version]
        else:
            doomed = await deleting.versions(target, Tag.from_taglike(version), jobs=settings.transfer.jobs)
        exclusive = await writing.exclusive(target, single_writer=alone, observer=on_event)
        for head in doomed:
            await aliasing.refuse_if_named(target, head.tag, jobs=settings.transfer.jobs)
        for head in doomed:
            await deleting.delete(target, head, exclusive=exclusive)
    return doomed


async def list_aliases(
    name: str | None = None,
    *,
    remote: str | None = None,
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> list[Alias]:
    """The aliases on a remote and what they name, sorted; those of one model, or of all.

    Raises:
        NotFound: No remote is configured.
        AuthError, NetworkError: See `bentosync.errors`.
    """
    settings = settings or configuration.load()
    async with opened_remote(configuration.choose_remote(settings, remote), settings, on_event) as source:
        return await aliasing.read_all(source, name and Tag(name).name, jobs=settings.transfer.jobs)


async def set_alias(
    tag: Tag | str,
    alias: str,
    *,
    remote: str | None = None,
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> Alias:
    """Let `alias` name a version of a remote, whatever it named before: `name@alias` is this version from now on.

    Args:
        tag: `name[:version][@b3:…]`, or `name@other` for what another alias names.
        alias: Its name; the tag grammar without `latest`.
        remote: A configured remote's name, or a URL; None for the default remote.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told about retries.

    Raises:
        NotFound: The remote has no such version, or no remote is configured.
        InvalidTag: It is no name for an alias.
        AuthError, NetworkError: See `bentosync.errors`.
    """
    check_alias(alias)
    settings = settings or configuration.load()
    async with opened_remote(configuration.choose_remote(settings, remote), settings, on_event) as target:
        found = await resolve(target, parse_reference(tag))
        return await aliasing.point(target, found.tag, alias)


async def remove_alias(
    name: str,
    alias: str,
    *,
    remote: str | None = None,
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> None:
    """Forget an alias of a model; the version that it named stays.

    Raises:
        NotFound: There is none, or no remote is configured.
        AuthError, NetworkError: See `bentosync.errors`.
    """
    settings = settings or configuration.load()
    async with opened_remote(configuration.choose_remote(settings, remote), settings, on_event) as target:
        await aliasing.remove(target, Tag(name).name, alias)


async def gc_remote(
    *,
    remote: str | None = None,
    dry_run: bool = False,
    force: bool = False,
    min_age_seconds: float = collecting.MIN_AGE_SECONDS,
    single_writer: bool | None = None,
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> collecting.Plan:
    """Remove from a remote what pushes left behind that never came to an end.

    Args:
        remote: A configured remote's name, or a URL; None for the default remote.
        dry_run: Only say what would go; nothing is written, and ages are by this machine's clock.
        force: Go on although more than half of all folders would go, or the remote has no format marker.
        min_age_seconds: What is younger stays, by the store's clock.
        single_writer: Go on although the remote ignores conditional writes.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told what happens (`bentosync.events`).

    Returns:
        What was removed, or would be, and what stays and why.

    Raises:
        UnsafeInput: A manifest cannot be read; nothing was removed.
        Conflict: Too much would go, and `force` is not set.
        AuthError, NetworkError: Something could not be listed or removed.
    """
    settings = settings or configuration.load()
    chosen = configuration.choose_remote(settings, remote)
    alone = chosen.single_writer if single_writer is None else single_writer
    async with opened_remote(chosen, settings, on_event) as target:
        seen = await collecting.look(target, jobs=settings.transfer.jobs)
        now = time.time() if dry_run else await collecting.store_time(target)
        plan = collecting.decide(seen, now=now, min_age_seconds=min_age_seconds)
        if not force:
            collecting.refuse_too_much(seen, plan)
        if dry_run:
            return plan
        exclusive = await writing.exclusive(target, single_writer=alone, observer=on_event)
        return await collecting.collect(target, seen, plan, exclusive=exclusive)


async def prune(
    *,
    bytes_max: int | None = None,
    older_than_seconds: float | None = None,
    min_age_seconds: float = pruning.MIN_AGE_SECONDS,
    dry_run: bool = False,
    settings: Settings | None = None,
    on_event: Observer = ignore,
) -> pruning.Pruned:
    """Remove pulled versions that were not used for long and that their remotes still have.

    Args:
        bytes_max: Until the models of the store take no more than this.
        older_than_seconds: All that were not used for so long.
        min_age_seconds: What was used since then stays in any case.
        dry_run: Only say what would go; the remotes are asked nevertheless.
        settings: Everything from environment and config files, if not to be read now.
        on_event: Is told about retries.

    Returns:
        What went, and what stays and why.

    Raises:
        InvalidArgument: Neither `bytes_max` nor `older_than_seconds` is given.
        LocalIOError: The disk refuses.
    """
    if bytes_max is None and older_than_seconds is None:
        raise InvalidArgument("nothing says how much to prune", hint="--max-size 200GB, or --older-than 30d")
    settings = settings or configuration.load()

    def remote_of(url: str) -> AbstractAsyncContextManager[Remote]:
        return opened_remote(configuration.remote_at(settings, url), settings, on_event)

    wanted = pruning.Wanted(bytes_max, older_than_seconds, min_age_seconds)
    return await pruning.prune(
        opened_store(settings), remote_of, wanted, settings=settings, now=time.time(), dry_run=dry_run
    )
