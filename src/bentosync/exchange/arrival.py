"""The files of an import on their way into a staging folder: each is read once, digested and written in that pass.

If the archive carries a manifest, every file must be what it says, and the whole must be the whole; otherwise the
manifest is that of what arrived.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from bentosync.errors import IntegrityError
from bentosync.formats import model_yaml
from bentosync.formats.archive.extractor import Extractor
from bentosync.formats.archive.member import Bytes, Member
from bentosync.formats.digester import FileDigester
from bentosync.formats.model_yaml import ModelInfo
from bentosync.manifest.values import BLOCK_BYTES, FileEntry, Manifest
from bentosync.store import proof, tree
from bentosync.writing import append

Progress = Callable[[str, int, int], None]
"""Called with a path, its bytes so far and its size."""

_HINT = "the archive is damaged or was changed; get it again"


class Arrival:
    """One version coming in.

    Args:
        root: The staging folder; it is filled through `extractor`.
        extractor: Creates the files in it.
        carried: What they must be, if the archive says so.
        progress: Told how far a file is.
    """

    def __init__(self, root: Path, extractor: Extractor, carried: Manifest | None, progress: Progress) -> None:
        self._root = root
        self._extractor = extractor
        self._carried = carried
        self._expected = None if carried is None else {entry.path: entry for entry in carried.files}
        self._progress = progress
        self._entries: dict[str, FileEntry] = {}
        self.info: ModelInfo | None = None

    def take(self, member: Member, pieces: Iterable[Bytes]) -> None:
        """Write a member.

        Raises:
            IntegrityError: It is not what the carried manifest says.
            UnsafeInput: Its path is not allowed, or was there before.
            BentoMLException: It is a malformed model.yaml.
            OSError: The disk refuses.
        """
        if member.directory:
            if member.path != ".":
                self._extractor.folder(member.path)
            return
        entry = self._write(member, pieces)
        if self._expected is not None:
            _compare(entry, self._expected.get(member.path))
        self._entries[member.path] = entry
        if member.path == model_yaml.FILE_NAME:
            self.info = model_yaml.loads(tree.read_small(self._root, member.path, model_yaml.BYTES_MAX))

    def add_model_yaml(self, info: ModelInfo) -> None:
        """Make a tree that has none a model of BentoML's."""
        document = model_yaml.dumps(info)
        self.take(Member(model_yaml.FILE_NAME, len(document)), [document])

    def manifest(self) -> Manifest:
        """The manifest of all that arrived.

        Raises:
            IntegrityError: It is not the one that was carried.
            UnsafeInput: No manifest can describe it.
        """
        assert self.info is not None, "asked for only when there is a model.yaml"
        found = proof.compose(self._root, self.info, self._extractor.folders, self._entries.values())
        if self._carried is not None and found.digest != self._carried.digest:
            missing = sorted({entry.path for entry in self._carried.files} - self._entries.keys())
            what = f"lacks {missing[:5]!a}" if missing else "is not what its manifest says"
            raise IntegrityError(f"archive of {self.info.tag}: it {what}", hint=_HINT)
        return found

    def _write(self, member: Member, pieces: Iterable[Bytes]) -> FileEntry:
        fd = self._extractor.file(member.path, member.executable)
        try:
            digester = FileDigester(member.path, member.size, member.executable)
            done = 0
            for piece in pieces:
                digester.update(piece)
                append(fd, piece)
                done += len(piece)
                self._progress(member.path, done, member.size)
            if not member.size:
                self._progress(member.path, 0, 0)
        finally:
            os.close(fd)
        return digester.finish()


def _compare(found: FileEntry, expected: FileEntry | None) -> None:
    if expected is None:
        raise IntegrityError(f"archive: its manifest does not know the file {found.path!a}", hint=_HINT)
    same_kind = (found.size, found.executable) == (expected.size, expected.executable)
    if same_kind and (found.leaves, found.blocks) == (expected.leaves, expected.blocks):
        return
    where = "size or mode"
    if same_kind:
        blocks = range(-(-found.size // BLOCK_BYTES))
        bad = next((index for index in blocks if found.block_digest(index) != expected.block_digest(index)), 0)
        where = f"the bytes from {bad * BLOCK_BYTES} on"
    raise IntegrityError(f"archive: {found.path!a} is not what its manifest says: {where}", hint=_HINT)
