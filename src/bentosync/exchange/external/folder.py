"""A model as a folder in external storage: file by file, `model.yaml` last.

Nothing can rename a folder of objects, so the last file stands for the whole: what lacks `model.yaml` does not say what
it is called, and no import takes it for a model. Most such storage keeps neither executable bits nor empty folders.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from bentosync.errors import BentoMLException, Conflict, InvalidModel
from bentosync.exchange.external.contract import Found, Storage
from bentosync.exchange.external.location import Location
from bentosync.exchange.listing import FolderListing
from bentosync.formats.archive.member import PIECE_BYTES, Bytes, Limits, Member
from bentosync.formats.model_yaml import BYTES_MAX, FILE_NAME

_NOT_MODEL = (".cache/", ".git/")

_logger = logging.getLogger("bentosync")


class ExternalFolderWriter:
    """Writes the folder `at`, which must not exist; use it as a context and `commit` inside.

    The contract is `member.Writer`'s.
    """

    def __init__(self, storage: Storage, at: Location) -> None:
        if storage.find(at.path) is not None:
            raise Conflict(f"{at.shown} exists, and a folder is never replaced", hint="remove it, or name another one")
        self._storage = storage
        self._at = at
        self._written: list[str] = []
        self._last: tuple[Member, bytes] | None = None
        self._committed = False

    def __enter__(self) -> ExternalFolderWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._committed:
            return
        try:
            for path in reversed(self._written):
                self._storage.remove(path)
        except BentoMLException as failure:
            _logger.warning("files below %s are left over and may be removed: %s", self._at.shown, failure.message)

    def manifest(self, body: bytes) -> None:
        """Nothing: a folder carries none."""

    def directory(self, path: str) -> None:
        """Nothing: see the module."""

    def file(self, member: Member, pieces: Iterable[Bytes]) -> None:
        """Write a file; `model.yaml` waits."""
        if member.path == FILE_NAME and member.size <= BYTES_MAX:
            self._last = (member, b"".join(pieces))
        else:
            self._send(member, pieces)

    def finish(self) -> None:
        """The last file."""
        if self._last is not None:
            self._send(self._last[0], [self._last[1]])

    def commit(self) -> None:
        """Keep it."""
        self._committed = True

    def _send(self, member: Member, pieces: Iterable[Bytes]) -> None:
        path = f"{self._at.path.rstrip('/')}/{member.path}".lstrip("/")
        with self._storage.create(path, member.size) as sending:
            for piece in pieces:
                sending.write([piece])
            self._written.append(path)
            sending.commit()


class ExternalFolderReader(FolderListing[Found]):
    """Reads the folder `at`. The contract is `member.Reader`'s; listing it happens at once.

    Raises:
        InvalidModel: It holds more than a model may.
    """

    def __init__(self, storage: Storage, at: Location, limits: Limits, progress: Callable[[int], None]) -> None:
        self._storage = storage
        self._progress = progress
        super().__init__(self._walk(at, limits))

    def _walk(self, at: Location, limits: Limits) -> Iterator[tuple[Member, Found]]:
        prefix = f"{at.path.strip('/')}/".lstrip("/")
        listed: list[tuple[Member, Found]] = []
        total = 0
        for found in self._storage.walk(at.path):
            if not found.path.startswith(prefix):
                raise InvalidModel(f"{at.shown}: the listing has {found.path[:200]!a}, which is not inside")
            total += max(0, found.size)
            if len(listed) >= limits.entries_max or total > limits.bytes_max:
                raise InvalidModel(f"{at.shown} holds more than {limits.entries_max} files or {limits.bytes_max} bytes")
            listed.append((Member(found.path[len(prefix) :], found.size, directory=found.folder), found))
        nameless = all(member.path != FILE_NAME for member, _ in listed)
        # State of `hf download` and of `git clone`, which is no part of a model that says nothing about itself.
        return (one for one in listed if not (nameless and one[0].path.startswith(_NOT_MODEL)))

    def _pieces(self, member: Member, source: Found) -> Iterator[Bytes]:
        reading = self._storage.read(source)
        try:
            for piece in reading:
                view = memoryview(piece).cast("B")
                for start in range(0, len(view), PIECE_BYTES):
                    part = view[start : start + PIECE_BYTES]
                    self._progress(len(part))
                    yield part
        finally:
            close = getattr(reading, "close", None)
            if close is not None:
                close()
