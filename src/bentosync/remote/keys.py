"""Where things lie on a remote: names to keys, and keys back to names. Pure.

The layout is docs/formats/remote-layout.md, which also says in which order these keys are written. Names, versions and
aliases follow the tag grammar, so a key is their plain concatenation; the push id is split off from the right because
versions may contain hyphens. Parsers return None for a key that this layout never makes: a bucket may hold anything.
"""

from __future__ import annotations

import re
import secrets

from msgspec import Struct

from bentosync.errors import InvalidArgument
from bentosync.tag import Tag

FORMAT_MARKER = "bentosync.json"
MODELS = "models/"
FILES = "files/"

_PUSH_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PUSH_ID_LENGTH = 10
_WORD = r"[a-z0-9](?:[-._a-z0-9]{0,61}[a-z0-9])?"
_PUSH_ID = rf"[a-z2-7]{{{_PUSH_ID_LENGTH}}}"
_MANIFEST = re.compile(rf"models/(?P<name>{_WORD})/(?P<version>{_WORD})\.jsonl", re.ASCII)
_PUSH_RECORD = re.compile(rf"models/(?P<name>{_WORD})/pushes/(?P<version>{_WORD})-(?P<push>{_PUSH_ID})\.json", re.ASCII)
_ALIAS = re.compile(rf"models/(?P<name>{_WORD})/aliases/(?P<alias>{_WORD})", re.ASCII)
_FILE = re.compile(
    rf"files/(?P<name>{_WORD})/(?P<version>{_WORD})-(?P<push>{_PUSH_ID})(?P<packs>\.packs)?/(?P<path>.+)",
    re.ASCII | re.DOTALL,
)


class PushKey(Struct, frozen=True):
    """A push in flight, as its record's key names it."""

    tag: Tag
    push_id: str


class FileKey(Struct, frozen=True):
    """One stored model file: whose it is, which push wrote it, and its path in the tree; of a pack, its number."""

    tag: Tag
    push_id: str
    path: str
    pack: bool = False


def new_push_id() -> str:
    """Ten random characters of `a-z2-7`: 50 bits, so that two pushes never share a folder."""
    return "".join(secrets.choice(_PUSH_ID_ALPHABET) for _ in range(_PUSH_ID_LENGTH))


def model_prefix(name: str) -> str:
    """Everything about model `name` except its files: manifests, pointers, push records."""
    return f"{MODELS}{name}/"


def manifest_key(tag: Tag) -> str:
    """The commit point of a version. Raises `InvalidArgument` if `tag` names none."""
    return f"{model_prefix(tag.name)}{_version(tag)}.jsonl"


def latest_key(name: str) -> str:
    """The pointer to the newest version of model `name`."""
    return f"{model_prefix(name)}latest"


def alias_key(name: str, alias: str) -> str:
    """The pointer called `alias` of model `name`."""
    return f"{aliases_prefix(name)}{alias}"


def aliases_prefix(name: str) -> str:
    """All aliases of model `name`."""
    return f"{model_prefix(name)}aliases/"


def push_record_key(tag: Tag, push_id: str) -> str:
    """The record of one push in flight."""
    return f"{pushes_prefix(tag)}{push_id}.json"


def pushes_prefix(tag: Tag) -> str:
    """All push records of one version; also those of versions that merely start alike, so parse what comes back."""
    return f"{model_prefix(tag.name)}pushes/{_version(tag)}-"


def folder_prefix(tag: Tag, push_id: str) -> str:
    """The folder that one push of one version writes; ends with `/`."""
    return f"{FILES}{tag.name}/{_version(tag)}-{push_id}/"


def file_key(tag: Tag, push_id: str, path: str) -> str:
    """Where one file of a version lies; `path` as in the manifest, already checked."""
    return folder_prefix(tag, push_id) + path


def packs_prefix(folder: str) -> str:
    """The packs beside a push's `folder_prefix`; ends with `/`."""
    return f"{folder[:-1]}.packs/"


def pack_key(tag: Tag, push_id: str, number: int) -> str:
    """Where a pack of small files lies."""
    return f"{packs_prefix(folder_prefix(tag, push_id))}{number:05d}"


def parse_manifest(key: str) -> Tag | None:
    """The version whose manifest `key` is, or None."""
    match = _MANIFEST.fullmatch(key)
    return Tag(match["name"], match["version"]) if match else None


def parse_push_record(key: str) -> PushKey | None:
    """The push whose record `key` is, or None."""
    match = _PUSH_RECORD.fullmatch(key)
    return PushKey(Tag(match["name"], match["version"]), match["push"]) if match else None


def parse_alias(key: str) -> tuple[str, str] | None:
    """(model name, alias) of the pointer that `key` is, or None."""
    match = _ALIAS.fullmatch(key)
    return (match["name"], match["alias"]) if match else None


def parse_file(key: str) -> FileKey | None:
    """The model file that `key` holds, or None."""
    match = _FILE.fullmatch(key)
    if match is None:
        return None
    return FileKey(Tag(match["name"], match["version"]), match["push"], match["path"], match["packs"] is not None)


def _version(tag: Tag) -> str:
    if not tag.version:
        raise InvalidArgument(f"Tag {tag.name} names no version", hint="write name:version")
    return tag.version
