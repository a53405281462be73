"""What the store already has of a version that is not published: claimed blocks of its partial, read and proven.

Claims are hints, so every block is hashed before it counts; a claim that does not hold is as good as none. Another
process may fill the partial meanwhile, finish it and publish it: files stay readable through the descriptors that are
open, and those not opened yet are looked for where they have gone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

from bentosync.errors import IntegrityError
from bentosync.loader.proof import Proof
from bentosync.manifest.values import BLOCK_BYTES, Manifest
from bentosync.store.partial import Partial, PartialFile
from bentosync.store.store import Store
from bentosync.tag import Tag


class Shelf:
    """Blocks on the local disk. `read` and `holds` may be called from any thread."""

    def __init__(self, store: Store, tag: Tag, manifest: Manifest) -> None:
        self._version = store.layout.version_dir(tag)
        self._partial = Partial(store.layout.partial_dir(manifest.digest), manifest)
        self._files = {file.entry.path: file for file in self._partial.files}
        self._fds: dict[str, int] = {}
        self._bad: set[tuple[str, int]] = set()
        self._published = False
        self._lock = threading.Lock()
        self.refresh()

    def refresh(self) -> None:
        """Look again at what is claimed."""
        with self._lock:
            self._partial.glance()

    def publish(self) -> None:
        """The version is complete in the store: from now on everything is there."""
        self._published = True

    def claimed_bytes(self) -> int:
        """How much is claimed, in whole blocks."""
        return sum(BLOCK_BYTES for file in self._partial.files for block in range(file.blocks) if file.has(block))

    def holds(self, path: str, offset: int, size: int) -> bool:
        """Whether every block of this range is claimed."""
        file = self._files.get(path)
        if file is None:
            return False
        if (path, offset) in self._bad:
            return False
        return self._published or all(map(file.has, range(offset // BLOCK_BYTES, -(-(offset + size) // BLOCK_BYTES))))

    def read(self, proof: Proof, offset: int, memory: memoryview) -> bool:
        """Fill `memory` with the file's bytes from `offset`, proven; False if they are not there."""
        path = proof.entry.path
        fd = self._open(self._files[path])
        if fd is None:
            return False
        try:
            done = 0
            while done < len(memory):
                got = os.preadv(fd, [memory[done:]], offset + done)
                if got == 0:
                    return self._refuse(path, offset)
                done += got
            proof.check(memory, offset)
        except (OSError, IntegrityError):
            return self._refuse(path, offset)
        return True

    def descriptor(self, path: str) -> int | None:
        """The file, open until this is closed, wherever it is moved meanwhile; None: it is not there."""
        return self._open(self._files[path])

    def _refuse(self, path: str, offset: int) -> bool:
        self._bad.add((path, offset))
        return False

    def close(self) -> None:
        """Close what is open. A second call does nothing."""
        with self._lock:
            fds, self._fds = self._fds, {}
        for fd in fds.values():
            os.close(fd)

    def _open(self, file: PartialFile) -> int | None:
        path = file.entry.path
        with self._lock:
            if path not in self._fds:
                for place in self._places(path):
                    try:
                        self._fds[path] = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                        break
                    except OSError:
                        continue
            return self._fds.get(path)

    def _places(self, path: str) -> Iterator[Path]:
        """Where the file may lie: in the partial, in a tree on its way to be published, in the store."""
        yield self._partial.tree / path
        for tree in sorted(self._partial.root.glob("tree-*")):
            yield tree / path
        yield self._version / path
