"""The pointer file `latest`: the version BentoML takes when none is named."""

from __future__ import annotations

import os
from pathlib import Path

from bentosync.errors import InvalidTag
from bentosync.tag import LATEST, Tag

_BYTES_MAX = 256


def read(path: Path) -> str | None:
    """The version a pointer names; None if there is no pointer, or it is empty or not one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(fd, _BYTES_MAX).decode("ascii").strip()
        version = Tag(path.parent.name, text).version
    except (OSError, UnicodeDecodeError, InvalidTag):
        return None
    finally:
        os.close(fd)
    return None if version == LATEST else version
