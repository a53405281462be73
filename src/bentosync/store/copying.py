"""Files of a version, copied to a folder of the user's: blocks are shared where the file system can.

Each file appears whole, by rename. What lies there already is left alone if its bytes are right, and is never replaced
silently if they are not. No component below the folder may be a link that leads out of it. A file in the making is
locked while its maker lives, so the next copy to the same folder knows what a killed one left, and removes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from bentosync.errors import Conflict, InvalidArgument
from bentosync.manifest.digests import block_digest
from bentosync.manifest.values import BLOCK_BYTES, FileEntry
from bentosync.store import tree
from bentosync.store.locks import try_lock
from bentosync.writing import WRITE_BYTES

_FRESH = ".bentosync-"
_MAKING = re.compile(rf"{re.escape(_FRESH)}[0-9a-f]{{16}}")


class Copied(Struct, frozen=True):
    """Bytes by how they came to the folder: sharing the version's blocks, copied, or there already."""

    shared_bytes: int = 0
    copied_bytes: int = 0
    present_bytes: int = 0


def copy_files(source: Path, target: Path, entries: Iterable[FileEntry], *, replace: bool) -> Copied:
    """Copy some files of the tree `source`, which is proven, to `target`, which is made if it is missing.

    Raises:
        Conflict: A file lies there with other bytes, and `replace` is not set.
        InvalidArgument: A folder there is a link that leads out of it.
        OSError: The disk refuses.
    """
    target.mkdir(parents=True, exist_ok=True)
    top = Path(os.path.realpath(target))
    shared = copied = present = 0
    swept: set[Path] = set()
    for entry in entries:
        path = top / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.realpath(path.parent) != str(path.parent):
            raise InvalidArgument(f"{path.parent} is reached through a link", hint="name an empty folder")
        if path.parent not in swept:
            _sweep(path.parent)
            swept.add(path.parent)
        if os.path.lexists(path):
            if _holds(path, entry):
                present += entry.size
                continue
            if not replace:
                raise Conflict(f"{path} holds other bytes", hint="another folder, or --force to replace what is there")
        if _place(source, path, entry):
            shared += entry.size
        else:
            copied += entry.size
    return Copied(shared, copied, present)


def _place(source: Path, path: Path, entry: FileEntry) -> bool:
    """Put one file there; true if it shares the version's blocks."""
    fresh = path.parent / f"{_FRESH}{secrets.token_hex(8)}"
    try:
        with os.fdopen(tree.open_file(source, entry.path), "rb") as origin, fresh.open("xb") as copy:
            try_lock(copy.fileno())
            shared = tree.reflink(origin.fileno(), copy.fileno())
            if not shared:
                shutil.copyfileobj(origin, copy, WRITE_BYTES)
            if entry.executable:
                mode = fresh.stat().st_mode
                # Whoever may read it may run it.
                fresh.chmod(mode | (mode & 0o444) >> 2)
            copy.flush()
            os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    return shared


def _sweep(folder: Path) -> None:
    """Remove the files in the making whose makers are dead."""
    with os.scandir(folder) as entries:
        fresh = [Path(entry.path) for entry in entries if _MAKING.fullmatch(entry.name)]
    for path in fresh:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if try_lock(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def _holds(path: Path, entry: FileEntry) -> bool:
    """Whether a file there is the version's, byte for byte and executable or not."""
    status = path.lstat()
    if path.is_symlink() or not path.is_file() or status.st_size != entry.size:
        return False
    if bool(status.st_mode & 0o100) != entry.executable:
        return False
    with path.open("rb") as file:
        index = 0
        while data := file.read(BLOCK_BYTES):
            if block_digest(memoryview(data)) != entry.block_digest(index):
                return False
            index += 1
    return index == -(-entry.size // BLOCK_BYTES)
