"""The universal oracle: what must be true after any fault, whatever was being done. The sweeps and the fault-server
tests (tests/sweeps, tests/faults) share it.

It looks with its own eyes: folders by walking them, digests by hashing the bytes, and only then asks bentosync, which
must agree. `look` describes a place (stores and remotes) as it is now and raises `Broken` where it is no valid state of
any history: a version that shows and is not whole, one that cannot be opened, a pointer to nothing. Two looks, one
before and one after an undisturbed run, say which states a disturbed run may leave (`allow`): every version is one
of its two lives, none is lost that was to stay. After the command was run again the look must be the second.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import blake3

from bentosync.errors import NotFound
from bentosync.manifest import decode
from bentosync.manifest.digests import block_digest, leaf_digest
from bentosync.manifest.values import BLOCK_BYTES, LEAF_BYTES, FileEntry
from bentosync.store.store import Store
from bentosync.sync.documents import Pointer
from bentosync.tag import Tag

_MANIFEST = re.compile(r"models/([^/]+)/([^/]+)\.jsonl")
_CREATED = re.compile(rb"(?m)^creation_time:.*\n")


class Broken(AssertionError):
    """A state that no fault may leave."""


class Bucket(Protocol):
    """A remote as the oracle reads it; `tests.sync.scene.Scene` is one."""

    def keys(self, prefix: str) -> list[str]:
        """Every key that starts with `prefix`."""

    def read_object(self, key: str) -> bytes:
        """A whole object."""


class Folder:
    """A `file://` remote, read as plain files."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keys(self, prefix: str) -> list[str]:
        found = (path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file())
        return sorted(key for key in found if key.startswith(prefix))

    def read_object(self, key: str) -> bytes:
        return (self._root / key).read_bytes()


@dataclass(frozen=True)
class Look:
    """What was there: by place (`consumer`, `remote`) and tag a digest of the whole version, and by place and name what
    `latest` names."""

    versions: Mapping[tuple[str, str], str]
    latest: Mapping[tuple[str, str], str | None] = field(default_factory=dict)


def look(stores: Mapping[str, Path], remotes: Mapping[str, Bucket], *, damaged: frozenset[str] = frozenset()) -> Look:
    """Describe every version of every place. The tags in `damaged` may differ from their record.

    Raises:
        Broken: Something shows that is not whole.
    """
    versions: dict[tuple[str, str], str] = {}
    latest: dict[tuple[str, str], str | None] = {}
    for place, home in stores.items():
        found, named = _look_at_store(home, damaged)
        versions |= {(place, tag): digest for tag, digest in found.items()}
        latest |= {(place, name): version for name, version in named.items()}
    for place, bucket in remotes.items():
        found, named = _look_at_remote(bucket)
        versions |= {(place, tag): digest for tag, digest in found.items()}
        latest |= {(place, name): version for name, version in named.items()}
    return Look(versions, latest)


def allow(now: Look, before: Look, after: Look) -> None:
    """A disturbed run between `before` and `after` may have left `now`.

    Raises:
        Broken: A version was lost, appeared from nowhere, or holds what it held in neither life.
    """
    for key in now.versions.keys() | before.versions.keys() | after.versions.keys():
        lives = {before.versions.get(key), after.versions.get(key)}
        if now.versions.get(key) not in lives:
            raise Broken(f"{key} is {now.versions.get(key)}, none of its lives {lives}")


def outside(folder: Path) -> Mapping[str, tuple[int, int, int]]:
    """A canary: what lies in a folder that nobody may touch, by inode, size and time."""
    return {
        str(path): (status.st_ino, status.st_size, status.st_ctime_ns)
        for path in [folder, *sorted(folder.rglob("*"))]
        for status in [path.lstat()]
    }


# --- a store ---------------------------------------------------------------------------------------------------------


def _look_at_store(home: Path, damaged: frozenset[str]) -> tuple[dict[str, str], dict[str, str | None]]:
    Store(home).list()  # the next start, whatever it does, heals what it can
    models = home / "models"
    versions: dict[str, str] = {}
    latest: dict[str, str | None] = {}
    for folder in sorted(models.iterdir()) if models.is_dir() else []:
        if not folder.is_dir():
            raise Broken(f"{folder} is no folder of a model")
        latest[folder.name] = None
        for entry in sorted(folder.iterdir()):
            if entry.name == "latest":
                latest[folder.name] = entry.read_text()
            else:
                versions[f"{folder.name}:{entry.name}"] = tree_digest(entry)
    _agrees(home, versions, latest, damaged)
    return versions, latest


def _agrees(home: Path, versions: Mapping[str, str], latest: Mapping[str, str | None], damaged: frozenset[str]) -> None:
    """A real `Store` lists, finds and gets what is there, and what it remembers is true."""
    store = Store(home)
    logging.disable(logging.WARNING)
    try:
        listed = [str(model.tag) for model in store.list()]
        if listed != sorted(versions, key=Tag.from_str):
            raise Broken(f"{home} lists {listed}, but holds {sorted(versions)}")
        for tag in versions:
            model = store.get(tag)
            if tag in damaged:
                continue
            if store.record(model.tag) is not None and (damage := store.check(model, strength="strong")):
                raise Broken(f"{tag} in {home} is not what its record says: {damage}")
        for name in latest:
            held = [tag for tag in versions if tag.startswith(f"{name}:")]
            try:
                got = str(store.get(name).tag)
            except NotFound:
                got = None
            if (got is None) != (not held) or (got is not None and got not in held):
                raise Broken(f"latest of {name} in {home} is {got}, of {held}")
    finally:
        logging.disable(logging.NOTSET)


def tree_digest(root: Path) -> str:
    """One digest of everything in a tree: paths, kinds, modes, bytes (but not when its model.yaml says it was made)."""
    whole = blake3.blake3()
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files) + folders:
            path = Path(folder, name)
            status = path.lstat()
            data = b"" if name in folders else path.read_bytes()
            if path == root / "model.yaml":
                data = _CREATED.sub(b"", data)
            line = f"{path.relative_to(root)} {status.st_mode & 0o170100:o} {blake3.blake3(data).hexdigest()}\n"
            whole.update(line.encode())
    return whole.hexdigest()[:16]


# --- a remote --------------------------------------------------------------------------------------------------------


def _look_at_remote(bucket: Bucket) -> tuple[dict[str, str], dict[str, str | None]]:
    keys = bucket.keys("")
    versions: dict[str, str] = {}
    for key in keys:
        if match := _MANIFEST.fullmatch(key):
            versions[f"{match[1]}:{match[2]}"] = _whole(bucket, match[1], match[2], key)
    latest: dict[str, str | None] = {}
    for key in keys:
        parts = key.split("/")
        if parts[0] == "models" and parts[2:] == ["latest"]:
            pointer = Pointer.decode(bucket.read_object(key), key=key, name=parts[1])
            latest[parts[1]] = pointer.version
    return versions, latest


def _whole(bucket: Bucket, name: str, version: str, key: str) -> str:
    """The pin of a published version, every one of whose files was read and hashed."""
    envelope, manifest = decode.document(bucket.read_object(key), name=name, version=version)
    for entry in manifest.files:
        path = f"files/{name}/{version}-{envelope.push_id}/{entry.path}"
        try:
            data = bucket.read_object(path)
        except (FileNotFoundError, NotFound):
            raise Broken(f"{name}:{version} is published without {path}") from None
        _equal(data, entry, path)
    return manifest.pin


def _equal(data: bytes, entry: FileEntry, path: str) -> None:
    if len(data) != entry.size:
        raise Broken(f"{path} has {len(data)} bytes, its manifest says {entry.size}")
    for index, start in enumerate(range(0, len(data), BLOCK_BYTES)):
        if block_digest(data[start : start + BLOCK_BYTES]) != entry.block_digest(index):
            raise Broken(f"{path} differs from its manifest at byte {start}")
    for index, start in enumerate(range(0, len(data), LEAF_BYTES)):
        if leaf_digest(data[start : start + LEAF_BYTES]) != entry.leaf_digest(index):
            raise Broken(f"{path} differs from its manifest at byte {start}, by BLAKE3 alone")
