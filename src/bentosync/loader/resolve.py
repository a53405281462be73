"""From a reference to a place on the local disk.

This is the seam where a remote joins: today a tag that is not in the store is NotFound; pulling it first is one
branch of `resolve`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bentosync.errors import IntegrityError, InvalidArgument
from bentosync.settings import Settings, load
from bentosync.store.model import Model
from bentosync.store.record import Record
from bentosync.store.store import Store
from bentosync.tag import Tag, parse_reference


@dataclass(frozen=True, slots=True)
class Resolved:
    """A model on disk.

    `path` is a directory or one weight file, `root` the folder that manifest paths count from, `label` what messages
    and reports call it, `record` what the store remembers about it.
    """

    label: str
    path: Path
    root: Path
    record: Record | None = None


def resolve(ref: str | Model | os.PathLike[str], settings: Settings | None = None) -> Resolved:
    """Where `ref` lies.

    Args:
        ref: `name[:version][@b3:…]`, a `Model`, or a path (an `os.PathLike`, or a string with a separator or ending in
            `.safetensors`).
        settings: Of the store; the process's by default.

    Raises:
        NotFound: The store has no such model or version.
        IntegrityError: The version has another digest than the pin asks for, or none is recorded.
        InvalidArgument: `ref` is none of these.
    """
    if isinstance(ref, str) and not _is_path(ref):
        return _version(ref, settings or load())
    if isinstance(ref, Model):
        return _model(ref, settings or load())
    if not isinstance(ref, (str, os.PathLike)):
        raise InvalidArgument(f"cannot load a {type(ref).__name__}", hint="pass a tag, a Model or a path")
    path = Path(ref).expanduser()
    return Resolved(label=str(path), path=path, root=path if path.is_dir() else path.parent)


def _is_path(text: str) -> bool:
    return os.sep in text or text in (".", "..", "~") or text.endswith(".safetensors")


def _version(text: str, settings: Settings) -> Resolved:
    reference = parse_reference(text)
    found = _model(_store(settings).get(Tag(reference.name, reference.version)), settings)
    if reference.pin is not None:
        seen = None if found.record is None else found.record.manifest.digest
        if seen != reference.pin.removeprefix("b3:"):
            raise IntegrityError(
                f"{found.label} is not {reference.pin}: "
                + (f"it is b3:{seen}" if seen else "nothing is recorded about it"),
                hint=f"bentosync pull {text}",
            )
    return found


def _model(model: Model, settings: Settings) -> Resolved:
    path = Path(model.path)
    store = _store(settings)
    known = store.find(model.tag)  # a Model made by hand from some folder must not borrow the record of its tag
    ours = known is not None and Path(known.path).resolve() == path.resolve()
    return Resolved(str(model.tag), path, path, store.record(model.tag) if ours else None)


def _store(settings: Settings) -> Store:
    return Store(settings.home, state_dir=settings.state_dir)
