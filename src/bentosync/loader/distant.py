"""Opening a version that is only on a remote: found, its weights known, and decided who fetches and what is kept.

| `cache` | target | what happens |
|---|---|---|
| `first` | any | pulled, then loaded from the store |
| `none` | any | streamed; the disk is not touched |
| `tee` | GPU, or CPU with `staging="force"` | streamed, written beside it; or another process's copy is followed |
| `tee` | CPU, and memory for twice the weights | streamed into memory of its own, and written beside it |
| `tee` | CPU, less memory, or another process fetches it | pulled (or waited for), then mapped |

"Pulled" is also the way when the manifest has no table for a weight file, and when the store has a version of that name
after all: a pull says what is wrong, or that all is well.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from bentosync.errors import LocalIOError, NetworkError, UnsafeInput
from bentosync.events import Event, Observer, Retried, ignore
from bentosync.formats.safetensors import INDEX_BYTES_MAX, Header
from bentosync.loader.cache import Cache
from bentosync.loader.device import Backend, parse_device, why_no_cuda
from bentosync.loader.fetcher import Fetcher
from bentosync.loader.landing import Landing
from bentosync.loader.memory import available_bytes
from bentosync.loader.opening import chosen_backend
from bentosync.loader.options import Options
from bentosync.loader.proof import Proof, Strength, unit_bytes
from bentosync.loader.remote_version import RemoteVersion, index_of, weights_of
from bentosync.loader.resolve import Elsewhere, elsewhere
from bentosync.loader.sharing import Following, take_turn
from bentosync.loader.shelf import Shelf
from bentosync.loader.tee import Tee
from bentosync.loader.timeline import Timeline
from bentosync.manifest.values import FileEntry
from bentosync.remote.contract import Remote
from bentosync.settings import Settings
from bentosync.store.partial import Partial
from bentosync.store.seen import Seen
from bentosync.store.store import Store
from bentosync.sync.assembly import require_space
from bentosync.sync.pull import complete
from bentosync.sync.resolve import Resolved, resolve
from bentosync.sync.session import opened_remote, opened_store
from bentosync.sync.watch import Watch
from bentosync.transfer.meter import Meter

_AMPLE = 2
"""Memory for so many times the weights is enough: once for the tensors, once for the pages of what is written."""


class Mailbox:
    """Events of the network's thread, until the caller's thread passes them on."""

    def __init__(self) -> None:
        self.meter = Meter()
        self._events: deque[Event] = deque(maxlen=1000)

    def __call__(self, event: Event) -> None:
        """Keep it; of very many the oldest are lost."""
        if isinstance(event, Retried):
            self.meter.retried(event.code, event.delay_seconds)
        self._events.append(event)

    def deliver(self, observer: Observer | None) -> None:
        """Give everything to `observer`."""
        while self._events:
            event = self._events.popleft()
            if observer is not None:
                observer(event)


@dataclass(frozen=True, slots=True)
class Tables:
    """Stands where an open checkpoint stands in a local load."""

    headers: tuple[Header, ...]


@dataclass(slots=True, weakref_slot=True)
class Distant:
    """An open version on a remote. `close()` it; tensors already made outlive it."""

    label: str
    checkpoint: Tables
    backend: Backend
    options: Options
    version: RemoteVersion
    found: Resolved
    strength: Strength
    settings: Settings
    fetcher: Fetcher
    mailbox: Mailbox
    timeline: Timeline
    began: float
    shelf: Shelf | None = None
    following: Following | None = None
    tee: Tee | None = None
    cache: Cache = field(default_factory=lambda: Cache("none", "none"))
    mapped: Literal[False] = False

    @property
    def whole(self) -> bool:
        """Whether every tensor is asked for."""
        return self.options.tensors is None and not self.options.plan

    def finish(self) -> None:
        """Everything asked for is loaded: the tee may go on to publish, and a follower sees how far the leader is."""
        if self.tee is not None:
            self.tee.finish(whole=self.whole)
        elif self.following is not None and opened_store(self.settings).find(self.found.tag) is None:
            self.cache = Cache("follow", "none")
            self.cache.reason = "the process that fetched it has not published it yet"

    def close(self) -> None:
        """End what is under way; the tee of a load that is not over leaves a partial."""
        if self.following is not None:
            self.following.stop()
        self.fetcher.close()
        if self.tee is not None:
            self.tee.leave()
        if self.shelf is not None:
            self.shelf.close()

    def __del__(self) -> None:
        self.close()  # an iterator that is dropped half-way keeps no thread and no lock


def open_distant(ref: object, asked: Options, *, backend: Backend | None = None) -> Distant | None:
    """The version that `ref` names, open on its remote; None if it is to be opened in the store (see the table).

    Raises:
        NotFound: The remote has no such version.
        Conflict: The manifest is not the one this store has seen.
        IntegrityError, AuthError, NetworkError: As for a pull.
    """
    began = time.perf_counter()
    where = elsewhere(ref, asked.settings, remote=asked.remote, refresh=asked.refresh)
    if where is None or asked.cache == "first":
        return None
    mailbox = Mailbox()
    fetcher = Fetcher(lambda: opened_remote(where.remote, where.settings, mailbox), mailbox.meter)
    opened: Distant | None = None
    try:
        opened = _open(where, asked, backend, fetcher, mailbox, began)
        return opened
    except NetworkError:
        if asked.refresh and where.reference.version is None and where.reference.alias is None:
            return None  # the store's latest may do, with a warning
        raise
    finally:
        mailbox.deliver(asked.on_event)
        if opened is None:
            fetcher.close()


def _open(
    where: Elsewhere, asked: Options, backend: Backend | None, fetcher: Fetcher, mailbox: Mailbox, began: float
) -> Distant | None:
    timeline = Timeline()
    strength: Strength = "strong" if asked.verify == "strong" or where.reference.pin is not None else "full"
    found, place, index = fetcher.call(lambda remote: _find(remote, where, strength))
    timeline.reach("resolved", began)
    store = opened_store(where.settings)
    if store.find(found.tag) is not None:
        return None
    if where.reference.pin is None:
        Seen(store.layout.state).check(place, found.tag, found.manifest.pin)
    version = weights_of(found.manifest, index)
    if version is None:
        return None
    if asked.cache == "none":
        return _streaming(where, asked, backend or chosen_backend(asked), version, found, strength, fetcher, mailbox,
                          timeline, began)  # fmt: skip
    memory = available_bytes()
    ample = memory is None or memory > _AMPLE * version.size
    maps = asked.staging == "auto" and asked.tensors is None and not asked.plan and _on_cpu(asked, backend)
    if maps and not ample:
        return None
    turn, refusal = _turn(store, found)
    if maps and turn is None and refusal is None:
        return None
    with ExitStack() as unless_it_works:
        if turn is not None:
            unless_it_works.push(turn)
        distant = _streaming(where, asked, backend or chosen_backend(asked), version, found, strength, fetcher,
                             mailbox, timeline, began)  # fmt: skip
        unless_it_works.pop_all()
    _share(distant, store, where, turn, refusal, ample=ample)
    return distant


def _streaming(
    where: Elsewhere,
    asked: Options,
    backend: Backend,
    version: RemoteVersion,
    found: Resolved,
    strength: Strength,
    fetcher: Fetcher,
    mailbox: Mailbox,
    timeline: Timeline,
    began: float,
) -> Distant:
    return Distant(
        str(found.tag), Tables(version.headers), backend, asked, version, found, strength, where.settings, fetcher,
        mailbox, timeline, began,
    )  # fmt: skip


def _on_cpu(asked: Options, backend: Backend | None) -> bool:
    """Whether the load will end on the CPU; asked before a fallback is warned of."""
    if backend is not None:
        return backend.name == "cpu"
    device = parse_device(asked.device)
    return device.type == "cpu" or why_no_cuda(device) is not None


def _turn(store: Store, found: Resolved) -> tuple[ExitStack | None, LocalIOError | None]:
    """The version's lock if it is free, or why it cannot be taken at all."""
    try:
        return take_turn(store, found.tag), None
    except LocalIOError as error:
        return None, error


async def _find(remote: Remote, where: Elsewhere, strength: Strength) -> tuple[Resolved, str, bytes | None]:
    """The manifest, the place it came from, and the index of its shards if it is not inline there."""
    found = await resolve(remote, where.reference)
    entry = index_of(found.manifest)
    index = None if entry is None else entry.inline
    if entry is not None and index is None:
        index = await _read(remote, found.key(entry.path), entry, strength)
    return found, await remote.place(), index


async def _read(remote: Remote, key: str, entry: FileEntry, strength: Strength) -> bytes:
    """A small file, proven."""
    if entry.size > INDEX_BYTES_MAX:
        raise UnsafeInput(f"safetensors index: {entry.size} bytes, over {INDEX_BYTES_MAX}")
    data = bytearray(entry.size)
    unit, memory = unit_bytes(strength), memoryview(data)
    units = [memory[begin : begin + unit] for begin in range(0, entry.size, unit)]
    await remote.read_range(key, 0, entry.size, Landing(Proof(entry, strength), 0, units, lambda count: None))
    return bytes(data)


def _share(
    distant: Distant,
    store: Store,
    where: Elsewhere,
    turn: ExitStack | None,
    refusal: LocalIOError | None,
    *,
    ample: bool,
) -> None:
    """Decide who fetches and what is kept."""
    if refusal is not None:
        distant.cache = Cache("none", "failed")
        distant.cache.reason = str(refusal)
        return
    distant.shelf = Shelf(store, distant.found.tag, distant.found.manifest)

    def lead(turn: ExitStack) -> None:
        # Blocks of CPU memory lie where tensors want them, and not where sectors do.
        direct = not ample and distant.backend.name != "cpu"
        published = partial(distant.timeline.reach, "published", distant.began)
        distant.tee = _tee(
            distant.found, store, where, turn, strong=distant.strength == "strong", direct=direct, published=published
        )
        distant.cache = distant.tee.cache

    if turn is not None:
        lead(turn)
    elif distant.whole:
        distant.cache = Cache("follow", "published")
        distant.following = Following(
            store,
            distant.found.tag,
            distant.shelf,
            patience_seconds=2 * where.settings.transfer.stall_seconds,
            lead=lead,
        )
    else:
        distant.cache = Cache("none", "none")
        distant.cache.reason = "another process is fetching this version"


def _tee(
    found: Resolved,
    store: Store,
    where: Elsewhere,
    turn: ExitStack,
    *,
    strong: bool,
    direct: bool,
    published: Callable[[], None],
) -> Tee:
    target = Partial(store.layout.partial_dir(found.manifest.digest), found.manifest)
    inline_bytes = sum(entry.size for entry in found.manifest.files if entry.inline is not None)

    async def publish(filled: Partial) -> int:
        watch = Watch(ignore, "pull")
        async with opened_remote(where.remote, where.settings, watch) as remote:
            pulled = await complete(store, remote, found, filled, settings=where.settings, watch=watch, strong=strong)
        published()
        return max(0, pulled.finished.moved_bytes - inline_bytes)

    return Tee(
        target,
        found.document,
        turn=turn,
        direct=direct,
        publish=publish,
        check_space=lambda: require_space(store, target, found.tag),
    )
