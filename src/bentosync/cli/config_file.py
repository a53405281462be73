"""Editing the user's config file: comments and order survive, a wrong value is refused before anything is written.

tomlkit costs 60 ms to import, so it is imported here, when a file is written, and nowhere else. The file holds no
secrets, but says where models live: it is created 0600 in a folder 0700, and replaced atomically.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bentosync.errors import InvalidArgument
from bentosync.settings.load import check_file, parse_for_file


class ConfigDocument:
    """A parsed config file. Names are dotted, as `config list` shows them."""

    def __init__(self, document: Any, path: Path) -> None:
        self._document = document
        self._path = path

    def set(self, name: str, value: Any) -> None:
        """Set `name`; a string is read as its type wants it ("32", "true", "512MiB"). Raises `InvalidArgument`."""
        parsed = parse_for_file(name, value, self._path)
        *tables, key = name.split(".")
        table = self._document
        for part in tables:
            if part not in table:
                import tomlkit

                table[part] = tomlkit.table(is_super_table=part == "remote")
            table = table[part]
        # A path stays as it was written ("~/models"), everything else is stored as what it means.
        table[key] = value if isinstance(parsed, Path) else parsed

    @property
    def remotes(self) -> list[str]:
        """The names of the remotes that it configures."""
        return list(self._document.get("remote", {}))

    def remove_remote(self, name: str) -> bool:
        """Drop the table `[remote.NAME]`; False if there is none."""
        remotes = self._document.get("remote", {})
        if name not in remotes:
            return False
        del remotes[name]
        if self._document.get("default_remote") == name:
            del self._document["default_remote"]
        return True

    def remove(self, name: str) -> None:
        """Drop a top-level key, if it is there."""
        self._document.pop(name, None)


@contextmanager
def edited(path: Path) -> Iterator[ConfigDocument]:
    """The file's document; written back when the block ends without an error.

    Raises:
        InvalidArgument: What was made of a good file could not be loaded; nothing is written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        before = path.read_text() if path.is_file() else ""
        document = tomlkit.parse(before)
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path}: not valid TOML: {error}") from None
    yield ConfigDocument(document, path)
    after = tomlkit.dumps(document)
    if after != before:
        if _loads(before, path):  # Of several wrong values, one at a time is set right.
            check_file(after, path)
        _replace(path, after)


def _loads(text: str, path: Path) -> bool:
    try:
        check_file(text, path)
    except InvalidArgument:
        return False
    return True


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
