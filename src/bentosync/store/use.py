"""When a version was last used, and whether somebody wants it kept: what pruning goes by.

A stamp is the mtime of an empty file, so using a version costs one system call and never fails: where nothing can be
written nothing is remembered, and what nobody could stamp nobody can prune. Format: docs/formats/local-state.md.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from bentosync.store.layout import Layout
from bentosync.tag import Tag


class Use:
    """The stamps and pins of one store."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def stamp(self, tag: Tag) -> None:
        """`tag` is being used now."""
        path = self._layout.use_path(tag, "used")
        try:
            os.utime(path)
        except FileNotFoundError:
            # Without a record a version is never pruned, so nobody will ask when it was used.
            if self._layout.record_path(tag).exists():
                with contextlib.suppress(OSError):
                    _touch(path)
        except OSError:
            return

    def last(self, tag: Tag) -> float | None:
        """When it was last used (seconds since 1970), if that is known."""
        try:
            return self._layout.use_path(tag, "used").stat().st_mtime
        except OSError:
            return None

    def pin(self, tag: Tag) -> None:
        """Keep it. Raises `OSError` if that cannot be remembered."""
        _touch(self._layout.use_path(tag, "pin"))

    def unpin(self, tag: Tag) -> None:
        """Keep it no longer. Raises `OSError`."""
        self._layout.use_path(tag, "pin").unlink(missing_ok=True)

    def pinned(self, tag: Tag) -> bool:
        """Whether it is to be kept."""
        return self._layout.use_path(tag, "pin").exists()

    def forget(self, tag: Tag) -> None:
        """The version is gone."""
        for what in ("used", "pin"):
            with contextlib.suppress(OSError):
                self._layout.use_path(tag, what).unlink()
        with contextlib.suppress(OSError):
            self._layout.use_path(tag, "used").parent.rmdir()


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
