"""One pass over a file that yields everything its manifest entry says: blocks, leaves, tensors.

Each block of 1 MiB is given to every hash in turn while it is in the cache of the processor, whatever the size of the
chunks that are fed. Payload is never copied; the only bytes kept are those of a safetensors header, until it is
complete. All three hashes let go of the interpreter lock on slices of this size, so digesting threads run side by side.
"""

from __future__ import annotations

import blake3
import xxhash

from bentosync.errors import IntegrityError, UnsafeInput
from bentosync.formats.safetensors import LENGTH_BYTES, Header, header_bytes, parse_header
from bentosync.manifest.rules import TENSOR_SUFFIX
from bentosync.manifest.values import BLOCK_BYTES, LEAF_BYTES, FileEntry, Tensor, TensorTable

_CHANGED = "something wrote to it while it was read; try again"


class FileDigester:
    """Digests one file of `size` bytes, fed from its start to its end in any chunking.

    Free of IO: who reads the file also decides how it is read.
    """

    def __init__(self, path: str, size: int, executable: bool) -> None:
        self._path = path
        self._size = size
        self._executable = executable
        self._position = 0
        self._block = xxhash.xxh3_64()
        self._leaf = blake3.blake3()
        self._blocks = bytearray()
        self._leaves = bytearray()
        self._tensors = _Tensors(size) if path.endswith(TENSOR_SUFFIX) else None

    @property
    def note(self) -> str | None:
        """Why there is no tensor table, where one could be expected."""
        return None if self._tensors is None else self._tensors.note

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the file; the buffer may be reused afterwards.

        Raises:
            IntegrityError: The file goes on after its size.
        """
        view = memoryview(data).cast("B")
        if self._position + len(view) > self._size:
            raise IntegrityError(f"file {self._path!a} has more than {self._size} bytes", hint=_CHANGED)
        at = 0
        while at < len(view):
            piece = view[at : at + BLOCK_BYTES - self._position % BLOCK_BYTES]
            self._take(piece)
            at += len(piece)

    def finish(self) -> FileEntry:
        """The entry, without inline bytes.

        Raises:
            IntegrityError: The file ended before its size.
        """
        if self._position != self._size:
            raise IntegrityError(f"file {self._path!a} has {self._position} of {self._size} bytes", hint=_CHANGED)
        return FileEntry(
            path=self._path,
            size=self._size,
            executable=self._executable,
            leaves=bytes(self._leaves),
            blocks=bytes(self._blocks),
            tensors=None if self._tensors is None else self._tensors.finish(),
        )

    def _take(self, piece: memoryview) -> None:
        """Take bytes that cross no border of a block."""
        self._block.update(piece)
        self._leaf.update(piece)
        if self._tensors is not None:
            self._tensors.update(piece)
        self._position += len(piece)
        ended = self._position == self._size
        if ended or self._position % BLOCK_BYTES == 0:
            self._blocks += self._block.digest()
            self._block.reset()
        if ended or self._position % LEAF_BYTES == 0:
            self._leaves += self._leaf.digest()
            self._leaf.reset()


class _Tensors:
    """Parses the header of one safetensors file as it streams by, then fingerprints the tensors that follow."""

    def __init__(self, size: int) -> None:
        self.note: str | None = None
        self._size = size
        self._head = bytearray()
        self._head_bytes = LENGTH_BYTES
        self._header: Header | None = None
        self._hash = xxhash.xxh3_128()
        self._position = 0
        self._fingerprints: list[bytes] = []

    def update(self, piece: memoryview) -> None:
        try:
            while self._header is None and self.note is None and piece:
                piece = self._collect(piece)
        except UnsafeInput as error:
            self.note, self._head = error.message, bytearray()
        if self._header is not None:
            self._fingerprint(self._header, piece)

    def finish(self) -> TensorTable | None:
        if self._header is None:
            self.note = self.note or f"safetensors header: the file ends after {self._size} bytes"
            return None
        rows = zip(self._header.tensors, self._fingerprints, strict=True)
        tensors = tuple(Tensor(t.name, t.dtype, t.shape, t.begin, t.end, fingerprint) for t, fingerprint in rows)
        return TensorTable(data_offset=self._header.data_offset, tensors=tensors)

    def _collect(self, piece: memoryview) -> memoryview:
        """Keep what belongs to the header, return the rest."""
        taken = self._head_bytes - len(self._head)
        self._head += piece[:taken]
        if len(self._head) == self._head_bytes == LENGTH_BYTES:
            self._head_bytes += header_bytes(self._head, self._size)
        elif len(self._head) == self._head_bytes:
            self._header = parse_header(memoryview(self._head), self._size)
            self._head = bytearray()
        return piece[taken:]

    def _fingerprint(self, header: Header, piece: memoryview) -> None:
        """Tensors follow each other without holes, so each byte belongs to the first one that is not complete."""
        while len(self._fingerprints) < len(header.tensors):
            end = header.tensors[len(self._fingerprints)].end
            part = piece[: end - self._position]
            self._hash.update(part)
            self._position += len(part)
            if self._position < end:
                return
            self._fingerprints.append(self._hash.digest())
            self._hash.reset()
            piece = piece[len(part) :]
