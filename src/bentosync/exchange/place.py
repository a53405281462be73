"""Where an export goes and where an import comes from: what BentoML's arguments mean, made absolute at once.

A relative path is relative to the working directory (BentoML 1.4.39 writes to `/`). A folder as the target of an
archive means: in there, under the default name. Storage that is named by a URL is not there yet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bentosync.errors import InvalidArgument, Unsupported
from bentosync.formats.archive import kinds
from bentosync.formats.archive.kinds import Format
from bentosync.tag import Tag

_LOCAL = (None, "", "file", "osfs")


@dataclass(frozen=True, slots=True)
class Target:
    """An absolute path, and what is to be written there."""

    path: Path
    format: Format


def local(
    path: str | os.PathLike[str],
    *,
    protocol: str | None = None,
    user: str | None = None,
    passwd: str | None = None,
    params: Mapping[str, str] | None = None,
    subpath: str | None = None,
) -> str:
    """The path that BentoML's arguments name: absolute, with a trailing slash if they end with one.

    Raises:
        Unsupported: They name storage that is not a local path.
        InvalidArgument: They contradict each other.
    """
    text = os.fspath(path)
    more = (protocol, user, passwd, params, subpath)
    if "://" in text:
        if any(value is not None for value in more):
            raise Unsupported(
                "a URL says everything itself: protocol, user, passwd, params and subpath do not go with it"
            )
        parts = urlsplit(text)
        protocol = parts.scheme
        if protocol in _LOCAL and parts.netloc not in ("", "localhost"):
            raise InvalidArgument(f"{text}: a file URL has three slashes", hint=f"file:///{parts.netloc}{parts.path}")
        text = unquote(parts.path) if protocol in _LOCAL else text
    if protocol not in _LOCAL:
        raise Unsupported(
            f"{protocol}: remote storage comes with a later release; archives are local files for now",
            hint="export to a file and copy it, or use a remote: bentosync push",
        )
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


def known(name: str) -> Format:
    """A format by its name.

    Raises:
        Unsupported: There is none.
    """
    for found in kinds.FORMATS:
        if found == name:
            return found
    raise Unsupported(f"Unsupported format {name}", hint=f"one of {', '.join(kinds.FORMATS)}")
