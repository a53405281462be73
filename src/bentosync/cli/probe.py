"""What `remote test` and `doctor` do to a remote.

The test tries, one after the other, what the commands need of a store: to list, write, read, start an upload and
delete. Everything it writes lies under one random key below `files/`, where the permissions of a push hold, and where
no model can be. A step that is refused does not end the test: the answer is which commands will work, and which
permission the others lack. Anything else that goes wrong (no network, unknown credentials) ends it as it would end a
pull. The doctor only asks for a listing.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from bentosync.errors import FORBIDDEN, AuthError, BentoMLException, IntegrityError, LocalIOError, NotFound
from bentosync.events import Observer, ignore
from bentosync.remote import keys
from bentosync.remote.contract import Access, Forbidden, Remote
from bentosync.settings import RemoteSettings, Settings
from bentosync.sync.session import opened_remote

PROBE_BYTES = 1 << 20
_LOOKED_AT_MAX = 200
NEEDS = {
    "pull": ("read manifests", "read files"),
    "list --remote": ("list", "read manifests"),
    "push": ("list", "read manifests", "read files", "write", "uploads", "delete", "conditional writes"),
}
"""Which steps stand for which commands."""


class Step(Struct, frozen=True):
    """One thing that was tried. `ok` is None if that could not be told; `lacks` names the permission, if known."""

    ok: bool | None
    note: str = ""
    lacks: str | None = None


class Examined(Struct):
    """What was found out about a remote. Rates are bytes per second, of one request; None is what was not measured."""

    name: str | None
    url: str
    access: Access = field(default_factory=Access)
    steps: dict[str, Step] = field(default_factory=dict)
    conditional: bool | None = None
    round_trip_seconds: float | None = None
    write_rate: float | None = None
    read_rate: float | None = None
    error: BentoMLException | None = None

    def works(self, command: str) -> bool | None:
        """Whether `command` will work; None if that cannot be told."""
        known = [self.steps[name].ok if name in self.steps else None for name in NEEDS[command]]
        return False if False in known else None if None in known else True

    def lacking(self, command: str) -> list[str]:
        """What `command` lacks: permissions, else names of steps."""
        failed = [(name, self.steps[name]) for name in NEEDS[command] if name in self.steps]
        return list(dict.fromkeys(step.lacks or name for name, step in failed if step.ok is False))

    def as_document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.error is None,
            "name": self.name,
            "url": self.url,
            "facts": dict(facts(self.access)),
            "clock_ahead_seconds": self.access.clock_ahead_seconds,
            "steps": {name: asdict(step) for name, step in self.steps.items()},
            "works": {command: self.works(command) for command in NEEDS},
            "lacking": {command: self.lacking(command) for command in NEEDS},
            "conditional": self.conditional,
            "round_trip_seconds": self.round_trip_seconds,
            "write_rate": self.write_rate,
            "read_rate": self.read_rate,
        }


async def examine(
    chosen: RemoteSettings, settings: Settings, *, read_only: bool = False, observer: Observer = ignore
) -> Examined:
    """Try everything, or only what a pull needs; what is refused is in the answer, and first of all in its `error`.

    Raises:
        IntegrityError: What was read is not what was written.
        InvalidArgument: It is behind a network and the settings say offline.
        AuthError, NetworkError, NotFound: As the remote raises them for reasons that no permission cures.
    """
    # Without a place to remember, whether conditional writes work is asked and not recalled.
    async with opened_remote(chosen, replace(settings, cache_dir=None), observer) as remote:
        found = Examined(chosen.name, remote.properties.url)
        await _Examination(remote, found).run(read_only=read_only or chosen.anonymous)
        found.access = await remote.access()
        return found


async def reach(chosen: RemoteSettings, settings: Settings) -> None:
    """Ask the remote for one key and nothing else: enough to know that address and credentials are right."""
    async with opened_remote(chosen, settings, ignore) as remote:
        async for _ in remote.list(keys.MODELS):
            break


async def known(chosen: RemoteSettings, settings: Settings) -> tuple[tuple[str, str], ...]:
    """What is used to reach the remote, without asking it."""
    async with opened_remote(chosen, settings, ignore) as remote:
        try:
            return facts(await remote.access())
        except AuthError as error:
            return (("credentials", error.message),)


def facts(access: Access) -> tuple[tuple[str, str], ...]:
    """What is used, as label and text; of credentials only the name of the place they come from."""
    named = (
        ("endpoint", access.endpoint),
        ("region", access.region),
        ("addressing", access.addressing),
        ("proxy", access.proxy),
        ("credentials", access.credentials),
    )
    return tuple((label, text) for label, text in named if text is not None)


class _Examination:
    """The steps, in an order in which each has what it needs."""

    def __init__(self, remote: Remote, found: Examined) -> None:
        self._remote = remote
        self._found = found
        self._key = f"{keys.FILES}.bentosync-probe-{secrets.token_hex(8)}"
        self._data = secrets.token_bytes(PROBE_BYTES)

    async def run(self, *, read_only: bool) -> None:
        manifest = await self._list()
        with self._step("read manifests"):
            await self._read_any("read manifests", manifest, f"{keys.MODELS}.bentosync-probe")
        if read_only:
            with self._step("read files"):
                await self._read_any("read files", await self._some_file(), self._key)
            return
        with self._step("write"):
            began = time.monotonic()
            await self._remote.write(self._key, self._data)
            self._found.write_rate = PROBE_BYTES / (time.monotonic() - began)
        written = self._found.steps["write"].ok
        try:
            with self._step("read files"):
                if written:
                    await self._read_back()
                else:
                    await self._read_any("read files", await self._some_file(), self._key)
            if written:
                with self._step("uploads"):
                    await self._upload()
        finally:
            if written:
                with self._step("delete", f"left behind: {self._key}"):
                    await self._remote.delete(self._key)
        if written and self._found.steps["delete"].ok:
            with self._step("conditional writes"):
                self._found.conditional = await self._remote.conditional_writes()

    async def _list(self) -> str | None:
        """The key of some manifest or pointer."""
        with self._step("list"):
            return await _sample(self._remote, keys.MODELS)
        return None

    async def _some_file(self) -> str | None:
        """The key of some model's file; None also if nobody may know."""
        try:
            return await _sample(self._remote, keys.FILES)
        except Forbidden:
            return None

    async def _read_back(self) -> None:
        began = time.monotonic()
        entity = await self._remote.read(self._key, bytes_max=PROBE_BYTES)
        self._found.read_rate = PROBE_BYTES / (time.monotonic() - began)
        if entity.data != self._data:
            raise IntegrityError(f"{self._found.url} returned other bytes than were written to {self._key}")
        await self._answer_time(self._key)

    async def _read_any(self, name: str, key: str | None, absent: str) -> None:
        """The start of the object `key`; without one, what is said about `absent`, which is not there."""
        if key is None:
            try:
                await self._answer_time(absent)
            except NotFound:
                self._found.steps[name] = Step(True, "none was looked at")
            except Forbidden as error:
                # Who may not list is told "forbidden" about what does not exist, too.
                if self._found.steps["list"].ok:
                    raise
                self._found.steps[name] = Step(
                    None, "without the permission to list, a missing object looks refused", error.permission
                )
            return
        stat = await self._remote.stat(key)
        length = min(stat.size, PROBE_BYTES)
        began = time.monotonic()
        await self._remote.read_range(key, 0, length, _Bin(length))
        if length == PROBE_BYTES:
            self._found.read_rate = length / (time.monotonic() - began)
        await self._answer_time(key)

    async def _answer_time(self, key: str) -> None:
        began = time.monotonic()
        await self._remote.stat(key)
        self._found.round_trip_seconds = time.monotonic() - began

    async def _upload(self) -> None:
        """A multipart upload, found among those in flight and dropped."""
        part_bytes = self._remote.properties.part_bytes_min
        upload = await self._remote.start_upload(self._key, size=part_bytes, part_bytes=part_bytes)
        try:
            async for _ in self._remote.list_uploads(self._key):
                break
        finally:
            await self._remote.abort_upload(upload)

    @contextlib.contextmanager
    def _step(self, name: str, refused: str = "") -> Iterator[None]:
        """Note how a step ends; only a refusal is an end that the next steps survive."""
        try:
            yield
        except (Forbidden, LocalIOError) as error:
            cause = error.__cause__
            if isinstance(error, LocalIOError) and not (isinstance(cause, OSError) and cause.errno in FORBIDDEN):
                raise
            lacks = error.permission if isinstance(error, Forbidden) else None
            self._found.steps[name] = Step(False, refused, lacks)
            self._found.error = self._found.error or error
        else:
            self._found.steps.setdefault(name, Step(True))


async def _sample(remote: Remote, prefix: str) -> str | None:
    """The key of an object that is not empty, and large enough to tell a rate if there is one among the first."""
    found: str | None = None
    seen = 0
    async for stat in remote.list(prefix):
        seen += 1
        if stat.size >= PROBE_BYTES or (found is None and stat.size):
            found = stat.key
        if stat.size >= PROBE_BYTES or seen == _LOOKED_AT_MAX:
            break
    return found


class _Bin:
    """A sink that keeps nothing."""

    def __init__(self, size: int) -> None:
        self._memory = memoryview(bytearray(size))

    def buffer(self) -> memoryview:
        return self._memory

    def filled(self, count: int) -> None:
        pass

    def rewind(self) -> int:
        return 0
