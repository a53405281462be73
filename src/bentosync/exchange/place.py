"""Where an export goes and where an import comes from: what BentoML's arguments mean, made absolute at once.

A relative path is relative to the working directory (BentoML 1.4.39 writes to `/`). A folder as the target of an
archive means: in there, under the default name. What a URL or `protocol` names is a `Location`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bentosync.errors import InvalidArgument, Unsupported
from bentosync.exchange.external import location
from bentosync.exchange.external.location import Location
from bentosync.formats.archive import kinds
from bentosync.formats.archive.kinds import Format
from bentosync.tag import Tag

_LOCAL = (None, "", "file", "osfs")


@dataclass(frozen=True, slots=True)
class Target:
    """An absolute path, and what is to be written there."""

    path: Path
    format: Format


def of(
    path: str | os.PathLike[str],
    *,
    protocol: str | None = None,
    user: str | None = None,
    passwd: str | None = None,
    params: Mapping[str, str] | None = None,
    subpath: str | None = None,
) -> str | Location:
    """The place that BentoML's arguments name.

    Returns:
        An absolute path, with a trailing slash if they end with one, or a location in other storage.

    Raises:
        Unsupported: There is no such storage.
        InvalidArgument: They contradict each other.
    """
    text = os.fspath(path)
    if "://" in text:
        if any(value is not None for value in (protocol, user, passwd, params, subpath)):
            raise Unsupported(
                "a URL says everything itself: protocol, user, passwd, params and subpath do not go with it"
            )
        parts = urlsplit(text) if text.startswith(("file:", "osfs:")) else None
        if parts is None:
            return location.parse(text)
        if parts.netloc not in ("", "localhost"):
            raise InvalidArgument(f"{text}: a file URL has three slashes", hint=f"file:///{parts.netloc}{parts.path}")
        text = unquote(parts.path)
    elif protocol not in _LOCAL:
        assert protocol is not None
        return location.given(protocol, text, user, passwd, params, subpath)
    if user or passwd or params:
        raise InvalidArgument("user, passwd and params are for remote storage, and a local path was given")
    if subpath:
        text = f"{text}/{subpath.lstrip('/')}"
    absolute = str(Path(text).resolve())
    return f"{absolute}/" if text.endswith("/") else absolute


def target(path: str, tag: Tag, asked: str | None) -> Target:
    """Where an export of `tag` to the absolute `path` goes, in the format asked for or the one its name stands for.

    Raises:
        Unsupported: There is no such format.
    """
    wanted = None if asked is None else known(asked)
    name = f"{tag.name}-{tag.version}"
    if Path(path).is_dir() or (path.endswith("/") and wanted != "folder"):
        chosen = wanted or "bentomodel"
        return Target(Path(path, name if chosen == "folder" else f"{name}.{chosen}"), chosen)
    chosen = wanted or kinds.named(Path(path).name) or "bentomodel"
    if chosen == "bentomodel" and not path.endswith(".bentomodel"):
        path = f"{path}.bentomodel"
    return Target(Path(path), chosen)


def distant(at: Location, tag: Tag, asked: str | None, is_folder: Callable[[str], bool]) -> tuple[Location, Format]:
    """The same in other storage; `is_folder` is asked about a path that might be one.

    Raises:
        Unsupported: There is no such format.
    """
    wanted = None if asked is None else known(asked)
    named = kinds.named(at.name)
    path = at.path
    if not path or (path.endswith("/") and wanted != "folder") or (named is None and is_folder(path.rstrip("/"))):
        chosen = wanted or "bentomodel"
        name = f"{tag.name}-{tag.version}"
        inner = name if chosen == "folder" else f"{name}.{chosen}"
        return at.at(f"{path.rstrip('/')}/{inner}".lstrip("/")), chosen
    chosen = wanted or named or "bentomodel"
    if chosen == "bentomodel" and not path.endswith(".bentomodel"):
        path = f"{path}.bentomodel"
    return at.at(path.rstrip("/")), chosen


def known(name: str) -> Format:
    """A format by its name.

    Raises:
        Unsupported: There is none.
    """
    for found in kinds.FORMATS:
        if found == name:
            return found
    raise Unsupported(f"Unsupported format {name}", hint=f"one of {', '.join(kinds.FORMATS)}")
