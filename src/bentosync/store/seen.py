"""The manifest digest first seen for a version on a remote; another one is a conflict, never followed silently."""

from __future__ import annotations

import os
from pathlib import Path

import blake3

from bentosync.errors import Conflict
from bentosync.tag import Tag


class Seen:
    """Remembered digests under `state/seen`. With a read-only state folder nothing is remembered and nothing fails."""

    def __init__(self, state: Path) -> None:
        self._root = state / "seen"

    def check(self, remote: str, tag: Tag, pin: str) -> None:
        """Raise `Conflict` if `remote` (as `Remote.place` names it) once showed another manifest under `tag`."""
        try:
            first = self._path(remote, tag).read_text().strip()
        except OSError:
            return
        if first and first != pin:
            raise Conflict(
                f"{tag} on {remote} is {pin}, but it was {first} when this store first saw it",
                hint=f"versions are immutable; if the change is intended: bentosync pull {tag} --force",
            )

    def remember(self, remote: str, tag: Tag, pin: str) -> None:
        """Take `pin` as the truth about `tag` on `remote` from now on."""
        path = self._path(remote, tag)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            temporary.write_text(pin + "\n")
            temporary.replace(path)
        except OSError:
            return

    def _path(self, remote: str, tag: Tag) -> Path:
        return self._root / blake3.blake3(remote.encode()).hexdigest()[:16] / tag.name / str(tag.version)
