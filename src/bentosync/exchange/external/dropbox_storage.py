"""Dropbox as storage, over the routes of its own library: upload sessions, ranged downloads, listings.

A session's bytes are no file before it is finished, and Dropbox forgets a session nobody finishes, so an upload that
fails leaves nothing. A chunk whose reply was lost is sent again; if it had arrived, the refusal says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from bentosync.errors import BentoMLException, IntegrityError, NotFound
from bentosync.exchange.external import faults
from bentosync.exchange.external.contract import Found
from bentosync.exchange.external.location import Location
from bentosync.exchange.external.patience import Patience, resumed
from bentosync.formats.archive.member import Bytes

CHUNK_BYTES = 16 << 20
"""A multiple of 4 MiB, as Dropbox wants it, and below the 150 MiB that it takes at once."""
_PIECE_BYTES = 1 << 20


class DropboxStorage:
    """The contract over a `dropbox.Dropbox` client. Closes it."""

    def __init__(self, client: Any, at: Location, patience: Patience) -> None:
        self._client = client
        self._at = at
        self._patience = patience

    def find(self, path: str) -> Found | None:
        """One get_metadata; the root has none."""
        if not path.strip("/"):
            return Found(path, folder=True)
        try:
            with faults.translated(self._at.at(path)):
                found = self._client.files_get_metadata(_full(path))
        except NotFound:
            return None
        size = getattr(found, "size", None)
        return Found(path, folder=True) if size is None else Found(path, int(size))

    def read(self, found: Found) -> Iterator[Bytes]:
        """One download; after it broke, one of the rest."""
        what = self._at.at(found.path).shown
        return resumed(lambda start: self._stream(found, start), what, found.size, self._patience)

    def create(self, path: str, bytes_max: int) -> DropboxSending:
        """An upload session."""
        del bytes_max
        return DropboxSending(self._client, self._at.at(path), self._patience)

    def walk(self, path: str) -> Iterator[Found]:
        """One recursive listing, page by page."""
        root = _full(path)
        with faults.translated(self._at.at(path)):
            page = self._client.files_list_folder(root, recursive=True)
        folders: set[str] = set()
        inside: set[str] = set()
        while True:
            for entry in page.entries:
                shown = str(entry.path_display).lstrip("/")
                inside.add(shown.rpartition("/")[0])
                if getattr(entry, "size", None) is not None:
                    yield Found(shown, int(entry.size))
                elif shown != path.strip("/"):
                    folders.add(shown)
            if not page.has_more:
                break
            with faults.translated(self._at.at(path)):
                page = self._client.files_list_folder_continue(page.cursor)
        yield from (Found(folder, folder=True) for folder in sorted(folders - inside))

    def remove(self, path: str) -> None:
        """One delete; nothing if it is gone."""
        try:
            with faults.translated(self._at.at(path)):
                self._client.files_delete_v2(_full(path))
        except NotFound:
            return

    def close(self) -> None:
        """The session."""
        self._client.close()

    def _stream(self, found: Found, start: int) -> Iterator[Bytes]:
        if found.size == 0:
            return
        headers = {"Range": f"bytes={start}-"} if start else {}
        with faults.translated(self._at.at(found.path)):
            _, reply = self._client.files_download(_full(found.path), extra_headers=headers)
            with reply:
                if start and not str(reply.headers.get("Content-Range", "")).startswith(f"bytes {start}-"):
                    raise IntegrityError(f"{self._at.shown}: the rest of a file was asked for, the reply is another")
                yield from reply.iter_content(_PIECE_BYTES)


class DropboxSending:
    """One upload session; see `contract.Sending`."""

    def __init__(self, client: Any, at: Location, patience: Patience) -> None:
        self.position = 0
        self._client = client
        self._at = at
        self._patience = patience
        self._session: str | None = None
        self._sent = 0
        self._chunk = bytearray()

    def __enter__(self) -> DropboxSending:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to do: see the module."""

    def write(self, parts: Sequence[Bytes]) -> None:
        """Collect, and send whole chunks."""
        for piece in parts:
            view = memoryview(piece).cast("B")
            self.position += len(view)
            while view:
                if len(self._chunk) == CHUNK_BYTES:
                    self._append()
                taken = min(len(view), CHUNK_BYTES - len(self._chunk))
                self._chunk += view[:taken]
                view = view[taken:]

    def commit(self) -> None:
        """Finish the session under the file's name; an older one is replaced."""
        from dropbox import files

        commit = files.CommitInfo(path=_full(self._at.path), mode=files.WriteMode.overwrite, mute=True)
        data = bytes(self._chunk)
        if self._session is None:
            stored = self._again(lambda: self._client.files_upload(data, commit.path, mode=commit.mode, mute=True))
        else:
            cursor = files.UploadSessionCursor(self._session, self._sent)
            stored = self._again(lambda: self._client.files_upload_session_finish(data, cursor, commit))
        if int(stored.size) != self.position:
            raise IntegrityError(f"{self._at.shown}: {self.position} bytes were sent, and {stored.size} are stored")

    def _append(self) -> None:
        from dropbox import files

        data, self._chunk = bytes(self._chunk), bytearray()
        if self._session is None:
            begun = self._again(lambda: self._client.files_upload_session_start(data))
            self._session = begun.session_id
        else:
            cursor = files.UploadSessionCursor(self._session, self._sent)
            self._again(lambda: self._client.files_upload_session_append_v2(data, cursor), len(data))
        self._sent += len(data)

    def _again(self, call: Any, more: int = 0) -> Any:
        """The result of `call`, tried again while it fails in passing; `more` bytes that have arrived are a success."""
        failures = 0
        while True:
            try:
                with faults.translated(self._at):
                    return call()
            except BentoMLException as error:
                if failures and more and _arrived(error) == self._sent + more:
                    return None
                failures += 1
                self._patience.pause(self._at.shown, failures, error)


def _full(path: str) -> str:
    return f"/{path.strip('/')}" if path.strip("/") else ""


def _arrived(error: BentoMLException) -> int | None:
    """How much of a session there is, by a refusal that says so."""
    said = getattr(error.__cause__, "error", None)
    if said is not None and getattr(said, "is_incorrect_offset", lambda: False)():
        return int(said.get_incorrect_offset().correct_offset)
    return None
