"""An open file or a stream as the reader of its format, and an output as the writer of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bentosync.formats.archive import compressing, decompressing, zstd
from bentosync.formats.archive.compressing import Compress, Compressing
from bentosync.formats.archive.decompressing import Read
from bentosync.formats.archive.kinds import Container
from bentosync.formats.archive.member import PIECE_BYTES, Limits, Reader, Writer
from bentosync.formats.archive.stored_xz import StoredXz
from bentosync.formats.archive.tar_reader import TarReader
from bentosync.formats.archive.tar_writer import TarWriter
from bentosync.formats.archive.zip_reader import ZipReader
from bentosync.formats.archive.zip_writer import Output, ZipWriter

_COMPRESS: dict[tuple[Container, bool], Compress] = {
    ("xz", True): compressing.xz,
    ("gz", True): compressing.gzip,
    ("gz", False): compressing.gzip_stored,
    ("bz2", True): compressing.bzip2,
    ("bz2", False): compressing.bzip2,
}


def open_reader(fd: int, container: Container, limits: Limits, progress: Callable[[int], None]) -> Reader:
    """The reader of the regular file `fd`, which stays open; `progress` gets the bytes of every read."""
    size = os.fstat(fd).st_size

    def read_at(offset: int, count: int) -> bytes:
        data = os.pread(fd, count, offset)
        progress(len(data))
        return data

    if container == "zip":
        return ZipReader(read_at, size, limits)
    position = 0

    def read(count: int) -> bytes:
        nonlocal position
        data = read_at(position, count)
        position += len(data)
        return data

    return open_stream(read, container, limits)


def open_stream(read: Read, container: Container, limits: Limits) -> Reader:
    """The reader of bytes that come once and in order: whatever tar is in. A zip file cannot be read so."""
    if container in ("xz", "gz", "bz2", "zst"):
        return TarReader(decompressing.pieces(read, container, limits), limits)
    assert container == "tar", container
    return TarReader(iter(lambda: read(PIECE_BYTES), b""), limits)


@contextmanager
def open_writer(output: Output, container: Container, *, compress: bool, patching: bool = True) -> Iterator[Writer]:
    """The writer of a container. Whether the archive was finished is the caller's to know.

    Args:
        output: Where it goes.
        container: What to write.
        compress: Make it small.
        patching: Whether the output can be patched; only a zip file differs without.
    """
    if container == "tar":
        yield TarWriter(lambda data: output.write([data]))
    elif container == "xz" and not compress:
        yield _Packed(StoredXz(output.write))
    elif container == "zip" and not compress:
        yield ZipWriter(output, patching=patching)
    else:
        threads = compressing.cores()
        pool = ThreadPoolExecutor(threads, "bentosync-compress")
        try:
            if container == "zip":
                yield ZipWriter(output, pool, threads, patching=patching)
            else:
                yield _Packed(Compressing(output.write, _compressor(container, compress), pool, threads))
        finally:
            # After an error a piece of xz may run for seconds; nobody wants it any more.
            pool.shutdown(wait=False, cancel_futures=True)


def _compressor(container: Container, compress: bool) -> Compress:
    if container == "zst":
        return zstd.compressor(zstd.LEVEL_SMALL if compress else zstd.LEVEL)
    return _COMPRESS[container, compress]


class _Packed(TarWriter):
    """A tar file inside something that is finished after it."""

    def __init__(self, around: StoredXz | Compressing) -> None:
        super().__init__(around.write)
        self._around = around

    def finish(self) -> None:
        super().finish()
        self._around.finish()
