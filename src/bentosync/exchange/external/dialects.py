"""The kinds of servers that fsspec speaks to; see `filesystem.Dialect`. Libraries are imported when one is opened."""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from bentosync.errors import NetworkError
from bentosync.exchange.external.filesystem import Dialect, Sink
from bentosync.exchange.external.location import Location
from bentosync.formats.archive.member import Bytes

_PIECE_BYTES = 1 << 20
_BLOCK_BYTES = 16 << 20
_PIPE_PIECES = 16
_DISCARD_SECONDS = 5.0


class Objects(Dialect):
    """Google Cloud Storage and Azure: a file is there when it was closed, and ranges may be read side by side."""

    ranges = 4

    def full(self, at: Location, path: str) -> str:
        """Bucket and key."""
        return f"{at.host}/{path}"

    def stream(self, fs: Any, path: str, start: int) -> Iterator[Bytes]:
        """The rest in one request: only small files are read so."""
        if data := fs.cat_file(path, start=start or None):
            yield data

    def sink(self, fs: Any, path: str) -> Sink:
        """A resumable upload."""
        return BufferedSink(fs.open(path, "wb", block_size=_BLOCK_BYTES))

    def close(self, fs: Any) -> None:
        """The session."""
        if hasattr(fs, "_session"):
            _end_session(fs)


class Ftp(Dialect):
    """FTP: the data connection is used directly, because fsspec would begin a new one for every block."""

    renames = True

    def full(self, at: Location, path: str) -> str:
        """From the root of whoever logged in."""
        return f"/{path}"

    def stream(self, fs: Any, path: str, start: int) -> Iterator[Bytes]:
        """One RETR; a broken control connection is made again first."""
        if start or fs.ftp.sock is None:
            _connect_again(fs)
        ended = False
        fs.ftp.voidcmd("TYPE I")
        connection = fs.ftp.transfercmd(f"RETR {path}", rest=start or None)
        try:
            while data := connection.recv(_PIECE_BYTES):
                yield data
            ended = True
        finally:
            connection.close()
            if not ended:
                # The server still wants to say how the transfer ended: nobody waits for that.
                fs.ftp.close()
        fs.ftp.voidresp()

    def sink(self, fs: Any, path: str) -> Sink:
        """One STOR."""
        return _FtpSink(fs, path)

    def rename(self, fs: Any, old: str, new: str) -> None:
        """RNFR and RNTO; a server that replaces nothing is asked to remove the older file first."""
        try:
            fs.mv(old, new)
        except Exception:
            if not fs.exists(new):
                raise
            fs.rm_file(new)
            fs.mv(old, new)

    def close(self, fs: Any) -> None:
        """Both connections."""
        fs.ftp.close()


class Sftp(Dialect):
    """SFTP through asyncssh, which keeps many requests of a file under way by itself."""

    renames = True

    def full(self, at: Location, path: str) -> str:
        """From the server's root; behind `~/`, from the home of whoever logged in."""
        return path.removeprefix("~/") if path.startswith("~/") else f"/{path}"

    def stream(self, fs: Any, path: str, start: int) -> Iterator[Bytes]:
        """One file."""
        yield from _file(fs, path, start)

    def sink(self, fs: Any, path: str) -> Sink:
        """One file."""
        return PlainSink(fs.open(path, "wb"))

    def rename(self, fs: Any, old: str, new: str) -> None:
        """POSIX's rename, where the server has it."""
        fs.mv(old, new)

    def close(self, fs: Any) -> None:
        """As the garbage collector would, but now."""
        fs._finalize(fs.loop, fs._pool, fs._stack)


class WebDav(Dialect):
    """WebDAV. What is written goes through a pipe, because the library wants to read it from a file."""

    renames = True

    def full(self, at: Location, path: str) -> str:
        """From the server's root."""
        return f"/{path}"

    def stream(self, fs: Any, path: str, start: int) -> Iterator[Bytes]:
        """One GET."""
        yield from _file(fs, path, start)

    def sink(self, fs: Any, path: str) -> Sink:
        """One PUT."""
        return _Piped(functools.partial(_put, fs, path))

    def rename(self, fs: Any, old: str, new: str) -> None:
        """MOVE, which replaces."""
        fs.client.move(old, new, overwrite=True)

    def close(self, fs: Any) -> None:
        """The client."""
        fs.client.http.close()


class Web(Dialect):
    """Plain http and https: read only."""

    def full(self, at: Location, path: str) -> str:
        """The whole address."""
        return f"{at.scheme.name}://{at.host}/{path}" + (f"?{at.query}" if at.query else "")

    def stream(self, fs: Any, path: str, start: int) -> Iterator[Bytes]:
        """One GET of everything, and after it broke, of ranges."""
        yield from _file(fs, path, start, block_size=0 if not start else _BLOCK_BYTES)

    def close(self, fs: Any) -> None:
        """The session."""
        _end_session(fs)


class Hub(Dialect):
    """Hugging Face: files of a repository."""

    def full(self, at: Location, path: str) -> str:
        """Repository and file."""
        return f"{at.host}/{path}".rstrip("/")

    def stream(self, fs: Any, path: str, start: int) -> Iterator[Bytes]:
        """One GET."""
        yield from _file(fs, path, start, block_size=_BLOCK_BYTES)


class PlainSink:
    """A file that appears as it is written."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: Bytes) -> None:
        """Append."""
        self._file.write(bytes(data))

    def finish(self) -> None:
        """Close."""
        self._file.close()

    def discard(self) -> None:
        """Close; the caller removes it."""
        self._file.close()


class BufferedSink(PlainSink):
    """A file of fsspec's buffered kind, which is stored when it is closed, also by the garbage collector."""

    def write(self, data: Bytes) -> None:
        """Append; fsspec copies."""
        self._file.write(data)

    def discard(self) -> None:
        """Cancel the upload, and keep the collector from completing it."""
        from fsspec.asyn import sync

        file = self._file
        try:
            # Google's has a location. gcsfs would try for half a minute to tell a server that is gone.
            if getattr(file, "location", None) is not None:
                sync(file.fs.loop, file.fs._call, "DELETE", file.location, timeout=_DISCARD_SECONDS)
        finally:
            file.buffer = None
            file.closed = True


class _FtpSink:
    def __init__(self, fs: Any, path: str) -> None:
        self._fs = fs
        fs.ftp.voidcmd("TYPE I")
        self._connection = fs.ftp.transfercmd(f"STOR {path}")

    def write(self, data: Bytes) -> None:
        self._connection.sendall(data)

    def finish(self) -> None:
        unwrap = getattr(self._connection, "unwrap", None)
        if unwrap is not None:
            unwrap()  # TLS: a server may take a connection that just ends for a broken one
        self._connection.close()
        self._fs.ftp.voidresp()

    def discard(self) -> None:
        self._connection.close()
        _connect_again(self._fs)


class _Piped:
    """Hands what is written to a thread that reads it as a file; bounded, so that it cannot run ahead."""

    def __init__(self, act: Any) -> None:
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_PIPE_PIECES)
        self._failure: Exception | None = None
        self._rest = b""
        self._over = False
        self._broken = False
        self._thread = threading.Thread(target=self._run, args=(act,), name="bentosync-exchange", daemon=True)
        self._thread.start()

    def write(self, data: Bytes) -> None:
        for start in range(0, len(data), _PIECE_BYTES):
            self._put(bytes(data[start : start + _PIECE_BYTES]))

    def finish(self) -> None:
        self._put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def discard(self) -> None:
        self._broken = True
        with contextlib.suppress(queue.Full):
            self._pieces.put_nowait(None)
        self._thread.join()

    def read(self, size: int = -1) -> bytes:
        """What the thread reads."""
        while not self._rest and not self._over:
            piece = self._pieces.get()
            if self._broken:
                raise NetworkError("given up")
            self._over = piece is None
            self._rest = piece or b""
        size = len(self._rest) if size < 0 else size
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def _put(self, piece: bytes | None) -> None:
        while self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._pieces.put(piece, timeout=0.2)
                return
        raise self._failure or NetworkError("the server ended the upload")

    def _run(self, act: Any) -> None:
        try:
            act(self)
        except Exception as error:
            self._failure = error


def _put(fs: Any, path: str, source: Any) -> None:
    fs.client.upload_fileobj(source, path, overwrite=True, chunk_size=_PIECE_BYTES)


def _connect_again(fs: Any) -> None:
    fs.ftp.close()
    fs._connect()
    if fs.tls:
        fs.ftp.prot_p()


def _end_session(fs: Any) -> None:
    """Close the HTTP session of an asynchronous file system, whose own clean-up is left to the garbage collector."""
    from fsspec.asyn import sync

    if fs._session is not None and not fs._session.closed:
        sync(fs.loop, fs._session.close, timeout=5)


def _file(fs: Any, path: str, start: int, **more: Any) -> Iterator[Bytes]:
    with fs.open(path, "rb", **more) as file:
        if start:
            file.seek(start)
        while data := file.read(_PIECE_BYTES):
            yield data


def port_of(at: Location) -> int | None:
    """The port in a host."""
    return urlsplit(f"//{at.host}").port


def host_of(at: Location) -> str:
    """The host without its port."""
    return urlsplit(f"//{at.host}").hostname or ""
