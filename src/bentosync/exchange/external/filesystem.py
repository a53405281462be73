"""What fsspec knows, as storage: one adapter, and a small dialect for each kind of server.

fsspec's file systems agree about listing and differ about streams: whether a file that was not closed is there, whether
it can be read in ranges at once, whether a name can be changed. A `Dialect` says so. Nothing here is tried again
except reading; the libraries behind it retry what they know to be safe.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Protocol

from bentosync.errors import BentoMLException, NetworkError, NotFound
from bentosync.exchange.external import ahead, faults
from bentosync.exchange.external.contract import Found
from bentosync.exchange.external.location import Location
from bentosync.exchange.external.patience import Patience, resumed
from bentosync.formats.archive.member import Bytes

_logger = logging.getLogger("bentosync")


class Sink(Protocol):
    """A remote file being written."""

    def write(self, data: Bytes) -> None:
        """Append."""

    def finish(self) -> None:
        """All was written; what this raises means that it is not stored."""

    def discard(self) -> None:
        """Let go, and leave as little as possible."""


class Dialect:
    """How one kind of server is spoken to. Its methods raise whatever the library raises."""

    renames = False
    """Whether a file appears as it is written; then it gets a name of its own first, and its name at the end."""
    ranges = 0
    """How many ranges may be read at once; 0 if `stream` is to be used."""

    def full(self, at: Location, path: str) -> str:
        """What the library calls the file at `path`."""
        raise NotImplementedError

    def stream(self, fs: Any, path: str, start: int) -> Iterator[Bytes]:
        """The bytes of a file from an offset, in one connection."""
        raise NotImplementedError

    def sink(self, fs: Any, path: str) -> Sink:
        """Begin to write a file."""
        raise NotImplementedError

    def rename(self, fs: Any, old: str, new: str) -> None:
        """Give a file another name, replacing what has it."""
        raise NotImplementedError

    def close(self, fs: Any) -> None:
        """Close connections."""


class FileSystemStorage:
    """The contract over an fsspec file system.

    Args:
        fs: The file system, connected or not.
        dialect: How it is spoken to.
        at: What it is the storage of.
        patience: For reading.
    """

    def __init__(self, fs: Any, dialect: Dialect, at: Location, patience: Patience) -> None:
        self._fs = fs
        self._dialect = dialect
        self._at = at
        self._patience = patience
        self._pool = ThreadPoolExecutor(max(1, dialect.ranges), "bentosync-exchange")

    def find(self, path: str) -> Found | None:
        """Ask the server, not a cache."""
        try:
            with faults.translated(self._at.at(path)):
                self._fs.invalidate_cache()
                info = self._fs.info(self._full(path))
        except NotFound:
            return None
        if info.get("type") == "directory":
            return Found(path, folder=True)
        size = info.get("size")
        return Found(path, -1 if size is None else int(size))

    def read(self, found: Found) -> Iterator[Bytes]:
        """Several ranges at once where the server likes that, else one connection after the other."""
        if self._dialect.ranges and found.size > ahead.RANGE_BYTES:
            return ahead.in_order(
                lambda start, length: self._pool.submit(self._range, found, start, length),
                found.size, most=self._dialect.ranges, settle=_settle,
            )  # fmt: skip
        what = self._at.at(found.path).shown
        return resumed(lambda start: self._stream(found.path, start), what, found.size, self._patience)

    def create(self, path: str, bytes_max: int) -> FileSystemSending:
        """Under a name of its own, where a file appears as it is written."""
        del bytes_max
        return FileSystemSending(self._fs, self._dialect, self._at, path, self._full)

    def walk(self, path: str) -> Iterator[Found]:
        """Folder by folder."""
        pending = [path.strip("/")]
        while pending:
            folder = pending.pop()
            try:
                with faults.translated(self._at.at(folder)):
                    listed = self._fs.ls(self._full(folder), detail=True)
            except NotFound:
                return
            here = 0
            for info in sorted(listed, key=lambda one: str(one["name"])):
                name = str(info["name"]).strip("/")
                if name == self._full(folder).strip("/"):
                    continue  # the marker of the folder itself
                here += 1
                inner = f"{folder}/{name.rpartition('/')[2]}".lstrip("/")
                if info.get("type") == "directory":
                    pending.append(inner)
                else:
                    yield Found(inner, int(info.get("size") or 0))
            if not here and folder != path.strip("/"):
                yield Found(folder, folder=True)

    def remove(self, path: str) -> None:
        """A file; nothing if it is gone."""
        with contextlib.suppress(NotFound), faults.translated(self._at.at(path)):
            self._fs.rm_file(self._full(path))

    def close(self) -> None:
        """End what runs, then the connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        with contextlib.suppress(Exception):
            self._dialect.close(self._fs)

    def _full(self, path: str) -> str:
        return self._dialect.full(self._at, path)

    def _stream(self, path: str, start: int) -> Iterator[Bytes]:
        with faults.translated(self._at.at(path)):
            yield from self._dialect.stream(self._fs, self._full(path), start)

    def _range(self, found: Found, start: int, length: int) -> Bytes:
        at = self._at.at(found.path)
        failures = 0
        while True:
            try:
                with faults.translated(at):
                    data: bytes = self._fs.cat_file(self._full(found.path), start=start, end=start + length)
                if len(data) != length:
                    raise NetworkError(f"{at.shown}: {len(data)} bytes arrived, {length} were asked for")
                return data
            except BentoMLException as error:
                failures += 1
                self._patience.pause(f"{at.shown} at {start}", failures, error)


class FileSystemSending:
    """One file being written; see `contract.Sending`."""

    def __init__(self, fs: Any, dialect: Dialect, at: Location, path: str, full: Any) -> None:
        self.position = 0
        self._fs = fs
        self._dialect = dialect
        self._at = at.at(path)
        self._target = full(path)
        folder, slash, _ = path.rpartition("/")
        beside = f"{folder}{slash}.bentosync-{secrets.token_hex(4)}.partial"
        self._scratch = full(beside) if dialect.renames else self._target
        self._sink: Sink | None = None
        self._finished = False
        self._committed = False
        with faults.translated(self._at):
            if folder and dialect.renames:
                fs.makedirs(full(folder), exist_ok=True)
            self._sink = dialect.sink(fs, self._scratch)

    def __enter__(self) -> FileSystemSending:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._committed or self._sink is None:
            return
        try:
            with faults.translated(self._at):
                if not self._finished:
                    self._sink.discard()
                if self._dialect.renames:
                    with contextlib.suppress(FileNotFoundError):
                        self._fs.rm_file(self._scratch)
        except BentoMLException as failure:
            if self._dialect.renames:
                _logger.warning("%s is left over and may be removed: %s", self._scratch, failure.message)

    def write(self, parts: Sequence[Bytes]) -> None:
        """Hand on."""
        assert self._sink is not None
        with faults.translated(self._at):
            for piece in parts:
                self._sink.write(piece)
                self.position += len(piece)

    def commit(self) -> None:
        """End the file, and give it its name."""
        assert self._sink is not None
        with faults.translated(self._at):
            self._sink.finish()
            self._finished = True
            self._check()
            if self._dialect.renames:
                self._dialect.rename(self._fs, self._scratch, self._target)
        self._committed = True

    def _check(self) -> None:
        """What was stored has the size of what was sent: some servers keep half of what a broken connection brought."""
        self._fs.invalidate_cache()
        size = self._fs.info(self._scratch).get("size")
        if size is not None and int(size) != self.position:
            raise NetworkError(f"{self._at.shown}: {self.position} bytes were sent, and {size} are stored")


def _settle(futures: list[Future[Bytes]]) -> None:
    for future in futures:
        future.cancel()
    wait(futures)
