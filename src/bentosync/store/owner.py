"""The random id of a store: what tells a push by this store from one by another (docs/adr/0003)."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

_ID = re.compile(r"[0-9a-f]{32}")


def owner_id(state: Path) -> str:
    """The id kept in `state/owner`, made on first use. Where nothing can be kept every call has an id of its own."""
    path = state / "owner"
    fresh = secrets.token_hex(16)
    try:
        state.mkdir(parents=True, exist_ok=True)
        scratch = state / f"owner.{fresh}"
        _write_durably(scratch, fresh)
        try:
            # Linking fails if another process was first: then its id is the store's.
            os.link(scratch, path)
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
        kept = path.read_text()
    except OSError:
        return fresh
    return kept if _ID.fullmatch(kept) else fresh


def _write_durably(path: Path, text: str) -> None:
    """An id that a power cut emptied would be replaced at every call."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
