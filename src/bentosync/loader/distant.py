"""Opening a version that is only on a remote: found, its weights known, and decided who fetches and what is kept.

| `cache` | target | what happens |
|---|---|---|
| `first` | any | pulled, then loaded from the store |
| `none` | any | streamed; the disk is not touched |
| `tee` | GPU, or CPU with `staging="force"` | streamed, written beside it; or another process's copy is followed |
| `tee` | CPU, all tensors | pulled, and mapped while it comes (`arrival`); no second copy of anything |
| `tee` | CPU, another process fetches it | mapped from its partial while it comes (`companion`) |
| `tee` | CPU, `own=True` or a store on a network file system, and memory for twice the weights | as for a GPU |
| `tee` | the same, less memory, or another process fetches it | pulled (or waited for), then mapped or read |

"Pulled" is also the way when the manifest has no table for a weight file, and when the store has a version of that name
after all: a pull says what is wrong, or that all is well.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from bentosync.errors import LocalIOError, NetworkError, UnsafeInput
from bentosync.events import Event, Observer, Progress, Retried, ignore
from bentosync.formats.safetensors import INDEX_BYTES_MAX, Header, parse_header
from bentosync.loader.arrival import Arrival
from bentosync.loader.cache import Cache
from bentosync.loader.companion import Companion
from bentosync.loader.device import Backend, parse_device, why_no_cuda
from bentosync.loader.fetcher import Fetcher
from bentosync.loader.filesystem import is_network
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

_SETTLE_SECONDS = 1.0
"""For how long a load of an open version waits until what the last one fetched is written."""


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
    lasting: bool = False
    tee_again: Callable[[], Tee | None] | None = None
    arrival: Arrival | None = None
    companion: Companion | None = None
    cache: Cache = field(default_factory=lambda: Cache("none", "none"))
    mapped: Literal[False] = False

    @property
    def whole(self) -> bool:
        """Whether every tensor is asked for."""
        return self.options.tensors is None and not self.options.plan and not self.lasting

    def begin(self) -> None:
        """A load begins. Of a version that stays open there are many, and each keeps what it fetches if it may."""
        if not self.lasting:
            return
        self.fetcher.resume()
        if self.tee is not None:
            self.tee.cache.wait(_SETTLE_SECONDS)
            self.tee = None
        if self.shelf is not None:
            self.shelf.refresh()
        if self.tee_again is not None:
            self.tee = self.tee_again()

    def metadata(self) -> dict[str, str]:
        """What the headers carry under `__metadata__`, which the manifest does not: fetched and proven."""
        return self.fetcher.call(self._metadata)

    async def _metadata(self, remote: Remote) -> dict[str, str]:
        found: dict[str, str] = {}
        for entry, header in zip(self.version.entries, self.version.headers, strict=True):
            data = entry.inline
            if data is None:
                data = await _read(remote, self.found.key(entry.path), entry, self.strength, header.data_offset)
            found |= parse_header(data, entry.size).metadata
        return found

    def finish(self) -> None:
        """Everything asked for is loaded: the tee may go on to publish, and a follower sees how far the leader is."""
        if self.tee is not None:
            self.tee.finish(whole=self.whole)
        elif self.following is not None and opened_store(self.settings).find(self.found.tag) is None:
            self.cache = Cache("follow", "none")
            self.cache.reason = "the process that fetched it has not published it yet"

    def use_shelf(self, *, published: bool) -> None:
        """Take from the disk what the store has of the version; the rest comes from the network."""
        if self.shelf is not None:
            return
        self.shelf = Shelf(opened_store(self.settings), self.found.tag, self.found.manifest)
        if published:
            self.shelf.publish()

    def close(self) -> None:
        """End what is under way; the tee of a load that is not over leaves a partial."""
        if self.following is not None:
            self.following.stop()
        if self.arrival is not None:
            self.arrival.close()
        else:
            self.fetcher.close()
        if self.tee is not None:
            self.tee.leave()
        if self.shelf is not None:
            self.shelf.close()

    def __del__(self) -> None:
        self.close()  # an iterator that is dropped half-way keeps no thread and no lock


def open_distant(
    ref: object, asked: Options, *, backend: Backend | None = None, lasting: bool = False
) -> Distant | None:
    """The version that `ref` names, open on its remote; None if it is to be opened in the store (see the table).

    With `lasting` it is open for any number of loads of a few tensors each, as for `open_tensors`.

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
        opened = _open(where, asked, backend, fetcher, mailbox, began, lasting=lasting)
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
    where: Elsewhere,
    asked: Options,
    backend: Backend | None,
    fetcher: Fetcher,
    mailbox: Mailbox,
    began: float,
    *,
    lasting: bool,
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
    if asked.cache == "none" and not lasting:
        return _streaming(where, asked, backend or chosen_backend(asked), version, found, strength, fetcher, mailbox,
                          timeline, began)  # fmt: skip
    if lasting:
        distant = _streaming(where, asked, backend or chosen_backend(asked), version, found, strength, fetcher,
                             mailbox, timeline, began)  # fmt: skip
        _stay(distant, store, where)
        return distant
    memory = available_bytes()
    ample = memory is None or memory > _AMPLE * version.size
    whole = asked.staging == "auto" and asked.tensors is None and not asked.plan and _on_cpu(asked, backend)
    maps = whole and not asked.own and not _is_far(store)
    if whole and not maps and not ample:
        return None
    turn, refusal = _turn(store, found)
    if whole and not maps and turn is None and refusal is None:
        return None
    with ExitStack() as unless_it_works:
        if turn is not None:
            unless_it_works.push(turn)
        distant = _streaming(where, asked, backend or chosen_backend(asked), version, found, strength, fetcher,
                             mailbox, timeline, began)  # fmt: skip
        if maps and turn is not None:
            distant.arrival = _arrival(distant, store, where, turn)
            distant.cache = distant.arrival.cache
        unless_it_works.pop_all()
    if distant.arrival is None:
        _share(distant, store, where, turn, refusal, ample=ample)
    if maps and distant.following is not None:
        distant.companion = Companion(distant.following, version.entries, strength, _moved(distant))
    return distant


def _is_far(store: Store) -> bool:
    """Whether the store lies on a network file system, where nothing should be mapped."""
    place = store.layout.state
    while not place.exists():
        place = place.parent
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return is_network(fd)
    finally:
        os.close(fd)


def _arrival(distant: Distant, store: Store, where: Elsewhere, turn: ExitStack) -> Arrival:
    found, strong = distant.found, distant.strength == "strong"
    target = Partial(store.layout.partial_dir(found.manifest.digest), found.manifest)
    return Arrival(
        distant.fetcher,
        found,
        target,
        distant.version,
        turn,
        transfer=where.settings.transfer,
        strong=strong,
        publish=_publisher(found, store, where, strong=strong, published=_published(distant)),
        check_space=lambda: require_space(store, target, found.tag),
        moved=_moved(distant),
    )


def _moved(distant: Distant) -> Callable[[str, int], None]:
    return _Moved(distant) if distant.options.on_event is not None else lambda path, count: None


class _Moved:
    """Progress of a version that is pulled while it is loaded, for the caller."""

    def __init__(self, distant: Distant) -> None:
        self._mailbox, self._label = distant.mailbox, distant.label
        self._sizes = {entry.path: entry.size for entry in distant.version.entries}
        self._done = dict.fromkeys(self._sizes, 0)
        self._all = sum(self._sizes.values())

    def __call__(self, path: str, count: int) -> None:
        self._done[path] += count
        done = sum(self._done.values())
        self._mailbox(Progress("load", self._label, path, self._done[path], self._sizes[path], done, self._all))


def _published(distant: Distant) -> Callable[[], None]:
    return partial(distant.timeline.reach, "published", distant.began)


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
        if entry.size > INDEX_BYTES_MAX:
            raise UnsafeInput(f"safetensors index: {entry.size} bytes, over {INDEX_BYTES_MAX}")
        index = await _read(remote, found.key(entry.path), entry, strength, entry.size)
    return found, await remote.place(), index


async def _read(remote: Remote, key: str, entry: FileEntry, strength: Strength, size: int) -> bytes:
    """At least the first `size` bytes of a file, proven: a whole number of units, or all of it."""
    unit = unit_bytes(strength)
    size = min(-(-size // unit) * unit, entry.size)
    memory = memoryview(bytearray(size))
    units = [memory[begin : begin + unit] for begin in range(0, size, unit)]
    await remote.read_range(key, 0, size, Landing(Proof(entry, strength), 0, units, lambda count: None))
    return bytes(memory)


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
        distant.tee = _tee(distant, store, where, turn, direct=direct)
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


def _stay(distant: Distant, store: Store, where: Elsewhere) -> None:
    """Be there for many loads of a few tensors. The version's lock is taken for each: between them others may pull."""
    distant.lasting = True
    distant.use_shelf(published=False)
    if distant.options.cache == "none":
        return

    def tee() -> Tee | None:
        turn, _ = _turn(store, distant.found)
        return None if turn is None else _tee(distant, store, where, turn, direct=False)

    distant.tee_again = tee


def _tee(distant: Distant, store: Store, where: Elsewhere, turn: ExitStack, *, direct: bool) -> Tee:
    target = Partial(store.layout.partial_dir(distant.found.manifest.digest), distant.found.manifest)
    publish = _publisher(
        distant.found, store, where, strong=distant.strength == "strong", published=_published(distant)
    )
    return Tee(
        target,
        distant.found.document,
        turn=turn,
        direct=direct,
        publish=partial(_over_again, where, publish),
        check_space=lambda: require_space(store, target, distant.found.tag),
    )


def _publisher(
    found: Resolved, store: Store, where: Elsewhere, *, strong: bool, published: Callable[[], None]
) -> Callable[[Remote, Partial], Awaitable[int]]:
    """What fetches the rest of a partial and publishes it; it returns the bytes that it fetched."""
    inline_bytes = sum(entry.size for entry in found.manifest.files if entry.inline is not None)

    async def publish(remote: Remote, filled: Partial) -> int:
        watch = Watch(ignore, "pull")
        pulled = await complete(store, remote, found, filled, settings=where.settings, watch=watch, strong=strong)
        published()
        return max(0, pulled.finished.moved_bytes - inline_bytes)

    return publish


async def _over_again(where: Elsewhere, publish: Callable[[Remote, Partial], Awaitable[int]], filled: Partial) -> int:
    """`publish` over connections of its own: those of the load end with it."""
    async with opened_remote(where.remote, where.settings, ignore) as remote:
        return await publish(remote, filled)
