"""A publisher, a consumer, and between them the fault server; every operation under faults is a trial with an oracle.

A trial runs `aio.push` or `aio.pull` while the injected rules act, and then holds what is there against
reliability's universal oracle (`tests.oracle` says what a valid state is):

- every version that shows, on the server and in both stores, is complete and digest-true, and none is lost;
- the outcome is success or an error of the family that the test names, with a message and nothing of a secret in it,
  in an event or in a log record;
- no descriptor, thread or connection is left;
- what lies on the server or in the stores besides versions is something that clean-up knows by name;
- every injected fault really happened;
- the same command without faults succeeds, with equal bytes, and then nothing is left over at all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from bentosync import aio, events
from bentosync.errors import BentoMLException
from bentosync.manifest import decode
from bentosync.remote import keys
from bentosync.remote.retrying import Clock
from bentosync.settings import NativeMode, RemoteSettings, Settings, TransferSettings
from bentosync.store.store import Store
from bentosync.sync import pull as pulling
from bentosync.sync import push as pushing
from bentosync.sync.session import opened_remote
from bentosync.sync.watch import Watch
from bentosync.tag import Tag, parse_reference
from tests import oracle
from tests.servers.faulty.objects import Bucket
from tests.servers.faulty.server import BUCKET, FaultyS3
from tests.servers.faulty.signature import Keys

KEYS = Keys("AKIDCANARYACCESS", "canary/secret+key", tokens=frozenset({"canary-session-token"}))
SECRETS = (KEYS.access_key, KEYS.secret_key, "canary-session-token", "canary-other-token", "Signature=")
PREFIX = "a prefix/+%#?é/"
# Only who tests silence is soon tired of it: on a busy machine half a second without a byte is nobody's fault.
TRANSFER = TransferSettings(
    jobs=4, connect_seconds=20.0, stall_seconds=20.0, retry_base_seconds=0.001, retry_cap_seconds=0.01
)
SMALL, LARGE, OTHER = Tag("small", "v1"), Tag("large", "v1"), Tag("other", "v0")


@dataclass
class VirtualClock:
    """Time that passes only by being slept away."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Trial:
    """How an operation under faults ended, and what it cost: requests and body bytes by S3 operation."""

    error: BentoMLException | None
    seen: tuple[events.Event, ...]
    requests: dict[str, int]
    received_bytes: dict[str, int]
    sent_bytes: dict[str, int]

    @property
    def finished(self) -> events.Finished:
        return next(event for event in reversed(self.seen) if isinstance(event, events.Finished))

    @property
    def retried(self) -> list[events.Retried]:
        return [event for event in self.seen if isinstance(event, events.Retried)]

    @property
    def warned(self) -> str:
        return " ".join(event.message for event in self.seen if isinstance(event, events.Warned))


@dataclass
class Bench:
    """`empty` is the server's state with `other:v0` alone; `published` has `small:v1` too, and `large` all three."""

    root: Path
    publisher: Path
    server: FaultyS3
    empty: Bucket
    published: Bucket
    large: Bucket
    caplog: pytest.LogCaptureFixture
    transfer: TransferSettings = TRANSFER
    clock: Clock | None = None
    endpoint_url: str | None = None
    ca_bundle: str | None = None
    native: NativeMode = "auto"
    orphans: int = 0

    # --- trials -------------------------------------------------------------------------------------------------------

    def pull(
        self,
        tag: Tag | str = SMALL,
        *,
        fails: type[BentoMLException] | None = None,
        match: str = "",
        verify: aio.Verify = "auto",
        stays: bool = True,
    ) -> Trial:
        """A pull into the consumer's store. The version is on the server for good unless `stays` is false."""
        return self._trial(lambda seen: self._pull(tag, seen, verify), fails, match, again=stays)

    def push(
        self,
        tag: Tag | str = SMALL,
        *,
        fails: type[BentoMLException] | None = None,
        match: str = "",
        force: bool = False,
        single_writer: bool | None = None,
        again: bool = True,
    ) -> Trial:
        """A push from the publisher's store. `again` repeats it without faults."""
        return self._trial(lambda seen: self._push(tag, seen, force, single_writer), fails, match, again=again)

    def _trial(
        self,
        operation: Callable[[list[events.Event]], Coroutine[Any, Any, object]],
        fails: type[BentoMLException] | None,
        match: str,
        *,
        again: bool,
    ) -> Trial:
        before = self.look()
        self.server.forget()
        with self._nothing_leaks():
            trial = self._run(operation)
        assert not self.server.unfired, f"faults that never happened: {self.server.unfired}"
        self._speaks_well(trial, fails, match)
        clock, self.clock = self.clock, None
        self.server.heal()
        now = self.look()
        self.accounted(done=trial.error is None)
        with self._nothing_leaks():
            undisturbed = self._run(operation) if again else None
        if undisturbed is not None:
            assert undisturbed.error is None, f"without faults: {undisturbed.error!r}"
            after = self.look()
            oracle.allow(now, before, after)
            self.accounted(done=True)
            assert trial.error is not None or now == after, "a success that an undisturbed run still changes"
        self.clock = clock
        return trial

    def _run(self, operation: Callable[[list[events.Event]], Coroutine[Any, Any, object]]) -> Trial:
        seen: list[events.Event] = []
        error: BentoMLException | None = None
        try:
            asyncio.run(operation(seen))
        except BentoMLException as caught:
            error = caught
        server = self.server
        return Trial(error, tuple(seen), dict(server.requests), dict(server.received_bytes), dict(server.sent_bytes))

    async def _pull(self, tag: Tag | str, seen: list[events.Event], verify: aio.Verify) -> None:
        settings = self.settings("consumer")
        if self.clock is None:
            await aio.pull(tag, verify=verify, settings=settings, on_event=seen.append)
            return
        watch = Watch(seen.append, "pull")
        async with opened_remote(settings.remotes["r"], settings, watch, clock=self.clock) as remote:
            store = Store(settings.home)
            await pulling.pull(store, remote, parse_reference(tag), settings=settings, watch=watch, verify=verify)

    async def _push(self, tag: Tag | str, seen: list[events.Event], force: bool, single: bool | None) -> None:
        settings = self.settings("publisher")
        if self.clock is None:
            await aio.push(tag, force=force, single_writer=single, settings=settings, on_event=seen.append)
            return
        watch = Watch(seen.append, "push")
        store = Store(settings.home)
        async with opened_remote(settings.remotes["r"], settings, watch, clock=self.clock) as remote:
            await pushing.push(store, remote, store.get(tag), settings=settings, watch=watch, force=force)

    def create(self, tag: str, files: Mapping[str, bytes]) -> None:
        """A version in a store of its own, which is the publisher from now on."""
        self.publisher = self.root / "writer"
        with Store(self.publisher).create(tag) as model:
            for path, data in files.items():
                Path(model.path, path).write_bytes(data)

    def settings(self, home: str) -> Settings:
        """What the publisher or a consumer is configured with."""
        return settings(
            self.publisher if home == "publisher" else self.root / home, self.endpoint_url or self.server.url,
            transfer=self.transfer, ca_bundle=self.ca_bundle, native=self.native,
        )  # fmt: skip

    # --- the oracle ---------------------------------------------------------------------------------------------------

    def look(self) -> oracle.Look:
        """Every version of consumer and server, each proven; the publisher's are proven at the session's end."""
        return oracle.look({"consumer": self.root / "consumer"}, {"server": Stored(self.server.bucket)})

    def _speaks_well(self, trial: Trial, fails: type[BentoMLException] | None, match: str) -> None:
        text = " ".join(map(repr, trial.seen)) + self.caplog.text
        if trial.error is not None:
            text += "".join(traceback.format_exception(trial.error)) + f"{trial.error.hint}"
        assert not [secret for secret in SECRETS if secret in text], "a secret was said"
        if fails is None:
            if trial.error is not None:
                raise trial.error
        else:
            assert isinstance(trial.error, fails), repr(trial.error)
            assert re.search(match, trial.error.message), trial.error.message

    def accounted(self, *, done: bool) -> None:
        """What is left on the server belongs to a version, or to a push whose record clean-up can see."""
        bucket = self.server.bucket
        names = {key.removeprefix(PREFIX): stored for key, stored in bucket.objects.items()}
        folders: set[str] = set()
        digests: set[str] = set()
        for key, stored in names.items():
            if (tag := keys.parse_manifest(key)) is not None:
                envelope, manifest = decode.document(stored.data, name=tag.name, version=tag.version)
                digests.add(manifest.digest)
                folders.add(keys.folder_prefix(tag, envelope.push_id))
            elif (push := keys.parse_push_record(key)) is not None:
                assert not done, f"{key} is left after a success"
                folders.add(keys.folder_prefix(push.tag, push.push_id))
        for key in names:
            if key.startswith(keys.FILES):
                assert any(key.startswith(folder) for folder in folders), f"nobody will ever remove {key}"
            else:
                assert key.startswith(keys.MODELS) or key == keys.FORMAT_MARKER, f"{key} is left over"
        uploads = [pending.key.removeprefix(PREFIX) for pending in bucket.uploads.values()]
        assert all(any(key.startswith(folder) for folder in folders) for key in uploads), uploads
        if done:
            assert len(uploads) <= self.orphans, f"uploads left after a success: {uploads}"
        for home in (self.publisher, self.root / "consumer"):
            state = home / ".bentosync"
            left = [path for kind in ("staging", "trash", "quarantine") for path in (state / kind).glob("*")]
            # The partial of a version that is gone is for the local clean-up.
            left += [path for path in (state / "partial").glob("*") if done and path.name in digests]
            assert not left, f"left in the store: {left}"
        assert {path.name for path in self.root.iterdir()} <= {"consumer", "writer"}, "a file outside the stores"

    @contextmanager
    def _nothing_leaks(self) -> Iterator[None]:
        self.server.hang_up()
        before, threads = descriptors(), threading.active_count()
        yield
        self.server.hang_up()
        # What an earlier test has let go of may be closed only now.
        left = descriptors().items() - before.items()
        assert not left, f"descriptors are left: {left}"
        assert threading.active_count() <= threads, f"threads are left: {threading.enumerate()}"


def settings(
    home: Path,
    endpoint_url: str,
    *,
    transfer: TransferSettings = TRANSFER,
    ca_bundle: str | None = None,
    cache_dir: Path | None = None,
    native: NativeMode = "auto",
) -> Settings:
    """A store at `home` and the fault server as its only remote. `cache_dir` remembers that it honours conditions."""
    url = f"s3://{BUCKET}/{quote(PREFIX)}"
    remote = RemoteSettings(url, name="r", endpoint_url=endpoint_url, region=KEYS.region, ca_bundle=ca_bundle)
    return Settings(
        home=home,
        remotes={"r": remote},
        default_remote="r",
        transfer=transfer,
        lock_seconds=20.0,
        cache_dir=cache_dir,
        native=native,
    )


@dataclass(frozen=True)
class Stored:
    """The server's bucket as the oracle reads it: behind the server's back."""

    bucket: Bucket

    def keys(self, prefix: str) -> list[str]:
        names = (key.removeprefix(PREFIX) for key in self.bucket.objects if key.startswith(PREFIX))
        return sorted(name for name in names if name.startswith(prefix))

    def read_object(self, key: str) -> bytes:
        return self.bucket.objects[PREFIX + key].data if PREFIX + key in self.bucket.objects else _absent(key)


def _absent(key: str) -> bytes:
    raise FileNotFoundError(key)


def descriptors() -> dict[str, str]:
    """What this process has open: number to what it stands for."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


def quiet() -> None:
    """The libraries' own debug logs are not ours to judge."""
    for name in ("asyncio", "botocore", "aiohttp"):
        logging.getLogger(name).setLevel(logging.WARNING)
