"""The weight files of a model: found, opened, their headers parsed, and agreeing with each other.

A path is one `.safetensors` file, or a directory. In a directory, in the order transformers has: `model.safetensors`;
the shards of `model.safetensors.index.json` (or of the only `*.safetensors.index.json`); else every `*.safetensors`
file. An index is a claim: each shard it names must exist beside it, hold exactly the tensors the index says it holds,
and nothing twice. Files the index does not name (`consolidated.safetensors`, adapters) are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from bentosync.errors import InvalidArgument, LocalIOError, NotFound, UnsafeInput
from bentosync.formats.safetensors import INDEX_BYTES_MAX, LENGTH_BYTES, Header, header_bytes, parse_header, parse_index
from bentosync.loader.source import WeightFile

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class Checkpoint:
    """Open weight files and their headers, in file order. Close it, or use it as a context manager."""

    def __init__(self, path: Path) -> None:
        paths, weight_map = find(path)
        self._open = ExitStack()
        try:
            self.files: tuple[WeightFile, ...] = tuple(self._open.enter_context(WeightFile(p)) for p in paths)
            self.headers: tuple[Header, ...] = tuple(_read_header(file) for file in self.files)
            check_shards([file.path.name for file in self.files], self.headers, weight_map)
        except BaseException:
            self.close()
            raise

    def check_unchanged(self) -> None:
        """Raise IntegrityError if a file was changed in place since it was opened."""
        for file in self.files:
            file.check_unchanged()

    def close(self) -> None:
        """Close every file."""
        self._open.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def find(path: Path) -> tuple[tuple[Path, ...], Mapping[str, str] | None]:
    """The weight files of `path`, and the weight map (tensor -> file name) if an index names them.

    Raises:
        NotFound: Nothing there, or no safetensors file in it.
        UnsafeInput: The index is malformed, or names something that is not a file beside it.
    """
    if not path.exists():
        raise NotFound(f"{path} does not exist")
    if not path.is_dir():
        if path.suffix != ".safetensors":
            raise InvalidArgument(f"{path} is not a safetensors file", hint="pass a .safetensors file or a directory")
        return (path,), None
    names = sorted(_names(path))
    if SINGLE in names:
        return (path / SINGLE,), None
    indexes = [name for name in names if name.endswith(".safetensors.index.json")]
    index = INDEX if INDEX in indexes else indexes[0] if len(indexes) == 1 else None
    if index is not None:
        weight_map = _read_index(path / index)
        return tuple(path / name for name in sorted(set(weight_map.values()))), weight_map
    found = tuple(path / name for name in names if name.endswith(".safetensors"))
    if not found:
        raise NotFound(f"no safetensors file in {path}", hint="only safetensors models can be loaded to a device")
    return found, None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise LocalIOError(f"cannot list {folder}: {error.strerror}") from error


def check_shards(names: Sequence[str], headers: Sequence[Header], weight_map: Mapping[str, str] | None) -> None:
    """Refuse shards that hold a tensor twice, or other tensors than the index claims. Pure."""
    home: dict[str, str] = {}
    for name, header in zip(names, headers, strict=True):
        for spec in header.tensors:
            if spec.name in home:
                raise UnsafeInput(f"tensor {spec.name!r} is in two files: {home[spec.name]} and {name}")
            home[spec.name] = name
    if weight_map is None or home == weight_map:
        return
    for tensor, shard in weight_map.items():
        if home.get(tensor) != shard:
            seen = f"it is in {home[tensor]}" if tensor in home else "no shard has it"
            raise UnsafeInput(f"the index says that {shard} holds tensor {tensor!r}, but {seen}")
    extra = min(home.keys() - weight_map.keys())
    raise UnsafeInput(f"{home[extra]} holds tensor {extra!r}, which the index does not name")


def _read_index(path: Path) -> Mapping[str, str]:
    with WeightFile(path) as file, _naming(path):
        if file.size > INDEX_BYTES_MAX:
            raise UnsafeInput(f"safetensors index: {file.size} bytes, over {INDEX_BYTES_MAX}")
        return parse_index(_read_start(file, file.size))


def _read_header(file: WeightFile) -> Header:
    with _naming(file.path):
        first = _read_start(file, min(LENGTH_BYTES, file.size))
        return parse_header(_read_start(file, LENGTH_BYTES + header_bytes(first, file.size)), file.size)


def _read_start(file: WeightFile, size: int) -> bytes:
    data = bytearray(size)
    file.read_into(memoryview(data), 0, size)
    return bytes(data)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Parsers do not know which file they read; who calls them does."""
    try:
        yield
    except UnsafeInput as error:
        raise UnsafeInput(f"{path}: {error.message}", hint=error.hint) from None
