"""The weight files of a version on a remote, as its manifest tells them: no header has to be fetched.

Which files count follows the same order as in a folder (`checkpoint`). A manifest that has no tensor table for one of
them (it is not valid safetensors) cannot be streamed; pulling and opening it says what is wrong with the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bentosync.errors import NotFound, UnsafeInput
from bentosync.formats.safetensors import Header, parse_index
from bentosync.loader.checkpoint import INDEX, SINGLE, check_shards
from bentosync.manifest.values import FileEntry, Manifest

_SUFFIX = ".safetensors"
_INDEX_SUFFIX = ".safetensors.index.json"


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """Weight files in file order, and their headers (without `__metadata__`, which manifests do not carry)."""

    entries: tuple[FileEntry, ...]
    headers: tuple[Header, ...]

    @property
    def size(self) -> int:
        """Bytes of all weight files."""
        return sum(entry.size for entry in self.entries)


def index_of(manifest: Manifest) -> FileEntry | None:
    """The index that names the shards, if there is one and it counts."""
    here = {entry.path: entry for entry in manifest.files if "/" not in entry.path}
    if SINGLE in here:
        return None
    indexes = sorted(path for path in here if path.endswith(_INDEX_SUFFIX))
    if INDEX in indexes:
        return here[INDEX]
    return here[indexes[0]] if len(indexes) == 1 else None


def weights_of(manifest: Manifest, index: bytes | None) -> RemoteVersion | None:
    """The weight files; `index` is what the file that `index_of` names holds. None: a table is missing.

    Raises:
        NotFound: There is no safetensors file.
        UnsafeInput: The index is malformed, or the tables contradict it.
    """
    here = {entry.path: entry for entry in manifest.files if "/" not in entry.path}
    weight_map: Mapping[str, str] | None = None
    if SINGLE in here:
        names: Sequence[str] = (SINGLE,)
    elif index is not None:
        weight_map = parse_index(index)
        names = sorted(set(weight_map.values()))
    else:
        names = sorted(path for path in here if path.endswith(_SUFFIX))
    if not names:
        raise NotFound(
            f"no safetensors file in {manifest.card.name}:{manifest.card.version}",
            hint="only safetensors models can be loaded to a device",
        )
    for name in names:
        if name not in here:
            raise UnsafeInput(f"the index names {name}, which the version does not have")
    entries = tuple(here[name] for name in names)
    tables = [entry.tensors for entry in entries]
    headers = tuple(Header(table.data_offset, table.tensors, {}) for table in tables if table is not None)
    if len(headers) < len(entries):
        return None
    check_shards(names, headers, weight_map)
    return RemoteVersion(entries, headers)
