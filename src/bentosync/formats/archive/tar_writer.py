"""Tar files from members: pax, without times and owners, so that equal models give equal files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bentosync.formats.archive import carried, tar_header
from bentosync.formats.archive.member import Bytes, Member
from bentosync.formats.archive.tar_header import ZERO_BLOCK

FILE_MODE, EXECUTABLE_MODE, FOLDER_MODE = 0o644, 0o755, 0o755


class TarWriter:
    """Writes a tar file through `write`. The contract is `member.Writer`'s."""

    def __init__(self, write: Callable[[Bytes], None]) -> None:
        self._write = write

    def manifest(self, body: bytes) -> None:
        """Carry a manifest in global headers."""
        for piece in carried.split(body):
            self._write(tar_header.extension_blocks(tar_header.PAX_GLOBAL, tar_header.comment(piece)))

    def directory(self, path: str) -> None:
        """Add a folder."""
        self._write(tar_header.member_blocks(f"{path}/", tar_header.FOLDER, 0, FOLDER_MODE))

    def file(self, member: Member, pieces: Iterable[Bytes]) -> None:
        """Add a file."""
        mode = EXECUTABLE_MODE if member.executable else FILE_MODE
        self._write(tar_header.member_blocks(member.path, tar_header.FILE, member.size, mode))
        for piece in pieces:
            self._write(piece)
        self._write(tar_header.padding(member.size))

    def finish(self) -> None:
        """Write the end mark."""
        self._write(ZERO_BLOCK * 2)
