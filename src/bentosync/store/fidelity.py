"""A staged tree made fit to keep: every file has its own bytes, plain modes, and nothing leads out of the tree.

A link would make the version depend on files that others may change (a Hugging Face snapshot is all links into a
shared cache), so each is replaced by what it names: a reflink where the file system can, a copy otherwise. The
same goes for files with several names. Set-user-id bits never survive; folders and files get the modes that new ones
get here, plus the execute bits where the owner had his.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import stat
from pathlib import Path

from msgspec import Struct

from bentosync.errors import InvalidModel
from bentosync.store.tree import ENTRIES_MAX, kind, reflink
from bentosync.writing import WRITE_BYTES

_PATH_BYTES_MAX = 4096
_logger = logging.getLogger("bentosync")


class Modes(Struct, frozen=True):
    """Modes of new files and folders here; `group` is set where the store's folder hands its group down."""

    umask: int
    group: int | None = None

    def apply(self, path: Path, mode: int) -> None:
        """Give `path`, whose mode is `mode`, the mode of a new file or folder."""
        wanted = self._wanted(mode)
        status = path.lstat()
        if self.group is not None and status.st_gid != self.group:
            with contextlib.suppress(OSError):
                os.chown(path, -1, self.group, follow_symlinks=False)
                status = path.lstat()
        # Only where needed: what another member of the group began to pull is right already, and not ours to change.
        if stat.S_IMODE(status.st_mode) != wanted:
            os.chmod(path, wanted)

    def fit(self, status: os.stat_result) -> bool:
        """Whether a file or folder with this status has group and mode already."""
        alike = self.group is None or status.st_gid == self.group
        return alike and stat.S_IMODE(status.st_mode) == self._wanted(status.st_mode)

    def _wanted(self, mode: int) -> int:
        if stat.S_ISDIR(mode):
            return (0o777 & ~self.umask) | (stat.S_ISGID if self.group is not None else 0)
        return (0o777 if mode & stat.S_IXUSR else 0o666) & ~self.umask


def current_umask() -> int:
    """This process's umask, where possible without changing it for an instant under the feet of other threads."""
    with contextlib.suppress(OSError), Path("/proc/self/status").open(encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def settle(root: Path, modes: Modes) -> None:
    """Make the tree below `root` fit to keep, in place. Nobody else may write to it meanwhile.

    Raises:
        InvalidModel: A link that leads nowhere or into itself; a pipe, socket or device; more than 200,000 entries.
        OSError: The disk refuses.
    """
    _Settling(root, modes).run()


class _Settling:
    def __init__(self, root: Path, modes: Modes) -> None:
        self._root = root
        self._real_root = Path(os.path.realpath(root))
        self._modes = modes
        self._entries = 0
        self._outside = 0
        # A folder, and the folders outside (or elsewhere in) the tree that are being spelled out on the way to it.
        self._pending: list[tuple[Path, tuple[Path, ...]]] = [(root, ())]

    def run(self) -> None:
        while self._pending:
            folder, through = self._pending.pop()
            if len(os.fsencode(folder)) > _PATH_BYTES_MAX:
                raise InvalidModel(f"{self._name(folder)[:200]}… is nested too deep")
            if stat.S_IMODE(folder.stat().st_mode) & 0o700 != 0o700:
                os.chmod(folder, 0o700)
            with os.scandir(folder) as entries:
                listed = list(entries)
            for entry in listed:
                self._entry(entry.path, entry.stat(follow_symlinks=False), through)
            self._modes.apply(folder, folder.stat().st_mode)
        if self._outside:
            _logger.warning("%d links led out of the model's folder; what they name was copied into it", self._outside)

    def _entry(self, name: str, status: os.stat_result, through: tuple[Path, ...]) -> None:
        self._entries += 1
        if self._entries > ENTRIES_MAX:
            raise InvalidModel(f"the model holds more than {ENTRIES_MAX} files and folders")
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and self._modes.fit(status):
            return  # as nearly all are
        path = Path(name)
        if stat.S_ISLNK(status.st_mode):
            self._follow(path, through)
        elif stat.S_ISDIR(status.st_mode):
            self._pending.append((path, through))
        elif not stat.S_ISREG(status.st_mode):
            raise InvalidModel(f"{self._name(path)} is {kind(status.st_mode)}; a model holds regular files and folders")
        elif status.st_nlink > 1:
            self._own(path, path)
        else:
            self._modes.apply(path, status.st_mode)

    def _follow(self, path: Path, through: tuple[Path, ...]) -> None:
        try:
            target = Path(os.path.realpath(path, strict=True))
        except OSError as error:
            raise InvalidModel(
                f"{self._name(path)} is a link to {os.readlink(path)!r}: {error.strerror}",
                hint="remove the link, or put the file there",
            ) from error
        status = target.stat()
        self._outside += not target.is_relative_to(self._real_root)
        if stat.S_ISREG(status.st_mode):
            self._own(path, target)
        elif stat.S_ISDIR(status.st_mode):
            self._spell_out(path, target, through)
        else:
            raise InvalidModel(f"{self._name(path)} is a link to {kind(status.st_mode)}")

    def _own(self, path: Path, source: Path) -> None:
        """Replace `path` by a file with the bytes of `source` and only this name."""
        fresh = path.parent / f".bentosync-{secrets.token_hex(8)}"
        with os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as origin:
            with fresh.open("xb") as copy:
                if not reflink(origin.fileno(), copy.fileno()):
                    shutil.copyfileobj(origin, copy, WRITE_BYTES)
            self._modes.apply(fresh, os.fstat(origin.fileno()).st_mode)
        os.replace(fresh, path)

    def _spell_out(self, path: Path, target: Path, through: tuple[Path, ...]) -> None:
        """Replace a link to a folder by a folder of links to its entries, which are followed in their turn."""
        here = (Path(os.path.realpath(path.parent)), *through)
        if any(folder.is_relative_to(target) for folder in here):
            raise InvalidModel(f"{self._name(path)} is a link to a folder that holds it", hint="remove the link")
        fresh = path.parent / f".bentosync-{secrets.token_hex(8)}"
        fresh.mkdir()
        for name in os.listdir(target):
            (fresh / name).symlink_to(target / name)
        path.unlink()
        fresh.rename(path)
        self._pending.append((path, (*through, target)))

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._root))
