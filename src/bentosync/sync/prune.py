"""Prune: versions of the store that a remote can give back make room, the longest unused first.

A version goes only if it was pulled (not made here), is not pinned, is named by no local Bento, was not used for
`min_age_seconds`, is open or mapped in no process that can be seen, is not what `latest` names while siblings stay, is
byte for byte what was pulled, and its remote answers right now with the same manifest and, for each file, with one
block, chosen at random, that is what it should be: this may be the last good copy. Whatever cannot be found out keeps
it. Which versions could go is decided first and purely (`rank`); each is then asked about again when its turn comes,
because the world moves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from bentosync.blocking import in_thread
from bentosync.errors import BentoMLException, Busy
from bentosync.remote.contract import Remote
from bentosync.settings import Settings
from bentosync.store import open_files
from bentosync.store.bentos import Bento, bentos
from bentosync.store.open_files import OpenFiles
from bentosync.store.record import Origin, Record
from bentosync.store.store import Store
from bentosync.sync.inspect import spot
from bentosync.sync.resolve import fetch
from bentosync.tag import LATEST, Reference, Tag

MIN_AGE_SECONDS = 24 * 3600.0

_LOOKED_AT_MAX = 32
"""Of how many files, the largest, a block is read before a version goes."""

OpenRemote = Callable[[str], AbstractAsyncContextManager[Remote]]
"""From a remote's URL to the remote."""


class Cached(Struct, frozen=True):
    """A version as pruning sees it. `last_used` is in seconds since 1970; `kept` is why it may not go, if so."""

    tag: Tag
    size_bytes: int
    last_used: float
    origin: Origin | None
    pinned: bool
    latest: bool
    kept: str | None = None


class Wanted(Struct, frozen=True):
    """What to prune down to: at most `bytes_max` in the store, or nothing unused for `older_than_seconds`, or both."""

    bytes_max: int | None = None
    older_than_seconds: float | None = None
    min_age_seconds: float = MIN_AGE_SECONDS

    def asks_for(self, version: Cached, total_bytes: int, now: float) -> bool:
        """Whether `version` is to go while the store holds `total_bytes`."""
        old = self.older_than_seconds is not None and now - version.last_used >= self.older_than_seconds
        return old or (self.bytes_max is not None and total_bytes > self.bytes_max)


class Pruned(Struct, frozen=True):
    """What went (or would), what stays and why, and the bytes of models that are left in the store.

    `unseen` processes belong to other users, so nobody knows what they hold open; None: none could be looked into.
    """

    gone: tuple[Cached, ...]
    kept: tuple[Cached, ...]
    left_bytes: int
    unseen: int | None


def survey(store: Store) -> list[Cached]:
    """Every version of the store, with the reasons that keep it whatever its age."""
    users = list(bentos(store.home))
    seen = open_files.look()
    pointed = {name: _latest(store, name) for name in {tag.name for tag in store.tags()}}
    found = []
    for summary in store.summaries():
        tag = summary.tag
        record = store.record(tag)
        origin = record.origin if record is not None else None
        version = Cached(
            tag,
            summary.size_bytes,
            max(store.last_used(tag) or 0.0, _moment(origin)),
            origin,
            store.pinned(tag),
            latest=pointed[tag.name] == tag,
        )
        found.append(replace(version, kept=_claimed(store, version, users, seen)))
    return found


def rank(versions: Sequence[Cached], *, now: float, min_age_seconds: float) -> tuple[list[Cached], list[Cached]]:
    """What may go, in the order in which it should, and what stays. Pure.

    The longest unused goes first; what `latest` names takes its turn after all its siblings.
    """
    judged = [
        replace(version, kept="used recently")
        if version.kept is None and now - version.last_used < min_age_seconds
        else version
        for version in versions
    ]
    newest_use: dict[str, float] = {}
    for version in judged:
        newest_use[version.tag.name] = max(version.last_used, newest_use.get(version.tag.name, 0.0))

    def turn(version: Cached) -> tuple[float, bool, Tag]:
        when = newest_use[version.tag.name] if version.latest else version.last_used
        return when, version.latest, version.tag

    free = sorted((version for version in judged if version.kept is None), key=turn)
    return free, [version for version in judged if version.kept is not None]


async def prune(
    store: Store, open_remote: OpenRemote, wanted: Wanted, *, settings: Settings, now: float, dry_run: bool
) -> Pruned:
    """Remove versions until what is wanted holds, or nothing more may go.

    Raises:
        LocalIOError: The disk refuses.
    """
    versions = await in_thread(survey, store)
    free, kept = rank(versions, now=now, min_age_seconds=wanted.min_age_seconds)
    left = {version.tag: version.size_bytes for version in versions}
    gone: list[Cached] = []
    async with AsyncExitStack() as stack:
        remotes = _Remotes(open_remote, settings, stack)
        for version in free:
            if not wanted.asks_for(version, sum(left.values()), now):
                continue
            if version.latest and any(tag.name == version.tag.name and tag != version.tag for tag in left):
                kept.append(replace(version, kept="latest names it and others stay"))
                continue
            why = await _take(store, remotes, version, dry_run=dry_run)
            if why is not None:
                kept.append(replace(version, kept=why))
                continue
            gone.append(version)
            del left[version.tag]
    if not dry_run:
        await in_thread(store.tidy)
    return Pruned(tuple(gone), tuple(kept), sum(left.values()), open_files.look().unseen)


class _Remotes:
    """Remotes by URL, each opened once; one that cannot be opened keeps its versions."""

    def __init__(self, open_remote: OpenRemote, settings: Settings, stack: AsyncExitStack) -> None:
        self._open = open_remote
        self._settings = settings
        self._stack = stack
        self._remotes: dict[str, Remote] = {}

    async def at(self, url: str) -> Remote:
        if url not in self._remotes:
            self._remotes[url] = await self._stack.enter_async_context(self._open(url))
        return self._remotes[url]

    async def refusal(self, tag: Tag, record: Record, origin: Origin) -> str | None:
        """Why the remote may not be able to give the version back, if so."""
        remote = await self.at(origin.remote)
        there = await fetch(remote, tag, Reference(tag.name, tag.version, None))
        if there.manifest.digest != record.manifest.digest:
            return f"{origin.remote} has another manifest under that name"
        damage = await spot(remote, there, files_max=_LOOKED_AT_MAX, settings=self._settings)
        if damage:
            return f"{origin.remote} holds {damage[0].path} damaged; from here: bentosync push --resend {tag}"
        return None


async def _take(store: Store, remotes: _Remotes, version: Cached, *, dry_run: bool) -> str | None:
    """Remove a version, unless something speaks against it after all: then say what."""
    tag = version.tag
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(store.lock(tag, seconds=0))
        except Busy:
            return "another process is working on it"
        record = store.record(tag)
        if record is None or record.origin is None:
            return "it changed meanwhile"
        try:
            model = store.find(tag)
            if model is None:
                return "it is gone"
            if (why := await remotes.refusal(tag, record, record.origin)) is not None:
                return why
            here = await in_thread(store.describe, model)
        except BentoMLException as error:
            return f"not confirmed: {error.message}"
        if here.digest != record.manifest.digest:
            return "it was modified since it was pulled"
        # Last looks: somebody may have begun to use it while its remote was asked and its files were read.
        if (store.last_used(tag) or 0.0) > version.last_used or store.pinned(tag):
            return "used just now"
        if open_files.look().any_below(store.layout.version_dir(tag)):
            return "open in a process"
        if not dry_run:
            await in_thread(store.delete, tag)
    return None


def _claimed(store: Store, version: Cached, users: Sequence[Bento], seen: OpenFiles) -> str | None:
    """What keeps a version whatever its age."""
    if version.origin is None:
        return "made here"
    if version.pinned:
        return "pinned"
    for bento in users:
        if bento.models is None:
            return f"the Bento {bento.tag} cannot be read, so nobody knows which models it uses"
        if bento.uses(version.tag):
            return f"used by the Bento {bento.tag}"
    return "open in a process" if seen.any_below(store.layout.version_dir(version.tag)) else None


def _latest(store: Store, name: str) -> Tag | None:
    with contextlib.suppress(BentoMLException):
        return store.get(f"{name}:{LATEST}").tag
    return None


def _moment(origin: Origin | None) -> float:
    try:
        return 0.0 if origin is None else datetime.fromisoformat(origin.pulled_at).timestamp()
    except (ValueError, OverflowError):
        return 0.0
