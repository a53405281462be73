"""From a reference to a place on the local disk; a version that is only on a remote is pulled first.

A name without a version means the store's latest if there is one (BentoML's semantics), else the remote's. `refresh`
asks the remote first and falls back to the store, with a warning, when the remote cannot be reached.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from bentosync.blocking import wait
from bentosync.errors import IntegrityError, InvalidArgument, NetworkError, NotFound
from bentosync.events import Observer, Warned, ignore
from bentosync.settings import RemoteSettings, Settings, choose_remote, load
from bentosync.store.model import Model
from bentosync.store.record import Vouched
from bentosync.sync.session import opened_store, pull_version
from bentosync.tag import Reference, Tag, parse_reference


@dataclass(frozen=True, slots=True)
class Resolved:
    """A model on disk.

    `path` is a directory or one weight file, `root` the folder that manifest paths count from, `label` what messages
    and reports call it, `record` what the store remembers about it. `pinned` says that this content was asked for and
    no other.
    """

    label: str
    path: Path
    root: Path
    record: Vouched | None = None
    pinned: bool = False
    pulled: bool = False


def resolve(
    ref: str | Model | os.PathLike[str],
    settings: Settings | None = None,
    *,
    remote: str | None = None,
    refresh: bool = False,
    observer: Observer = ignore,
) -> Resolved:
    """Where `ref` lies; afterwards it lies on this disk.

    Args:
        ref: `name[:version][@b3:…]`, a `Model`, or a path (an `os.PathLike`, or a string with a separator or ending in
            `.safetensors`).
        settings: Of the store; the process's by default.
        remote: Where to pull from if the store lacks the version; default the settings' default remote.
        refresh: Ask the remote even if the store has a version of that name.
        observer: Is told about a pull.

    Raises:
        NotFound: Neither the store nor the remote has such a model or version.
        IntegrityError: The version has another digest than the pin asks for, or none is recorded.
        InvalidArgument: `ref` is none of these.
    """
    if isinstance(ref, str) and not _is_path(ref):
        return _version(ref, settings or load(), _Asked(remote, refresh, observer))
    if isinstance(ref, Model):
        return _model(ref, settings or load())
    if not isinstance(ref, (str, os.PathLike)):
        raise InvalidArgument(f"cannot load a {type(ref).__name__}", hint="pass a tag, a Model or a path")
    path = Path(ref).expanduser()
    return Resolved(label=str(path), path=path, root=path if path.is_dir() else path.parent)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A reference that only a remote can answer."""

    text: str
    reference: Reference
    remote: RemoteSettings
    settings: Settings


def elsewhere(
    ref: object, settings: Settings | None = None, *, remote: str | None = None, refresh: bool = False
) -> Elsewhere | None:
    """What has to be asked of which remote; None if the store or the disk has it, or there is no remote to ask.

    Raises:
        NotFound, InvalidArgument: `remote` is none.
    """
    if not isinstance(ref, str) or _is_path(ref):
        return None
    settings, reference = settings or load(), parse_reference(ref)
    if settings.offline or not _reachable(settings, remote):
        return None
    if reference.alias is None and not (refresh and reference.version is None):
        try:
            opened_store(settings).get(Tag(reference.name, reference.version))
        except NotFound:
            pass
        else:
            return None
    return Elsewhere(ref, reference, choose_remote(settings, remote), settings)


def _reachable(settings: Settings, remote: str | None) -> bool:
    """As for a pull: the only remote there is needs no name."""
    return remote is not None or settings.default_remote is not None or len(settings.remotes) == 1


def _is_path(text: str) -> bool:
    return os.sep in text or text in (".", "..", "~") or text.endswith(".safetensors")


@dataclass(frozen=True, slots=True)
class _Asked:
    """How remotes come into it."""

    remote: str | None
    refresh: bool
    observer: Observer


def _version(text: str, settings: Settings, asked: _Asked) -> Resolved:
    reference = parse_reference(text)
    model, pulled = _local_or_pulled(text, reference, settings, asked)
    found = replace(_model(model, settings), pulled=pulled)
    if reference.pin is None:
        return found
    seen = None if found.record is None else found.record.digest
    if seen != reference.pin.removeprefix("b3:"):
        raise IntegrityError(
            f"{found.label} is not {reference.pin}: "
            + (f"it is b3:{seen}" if seen else "nothing is recorded about it"),
            hint=f"bentosync pull {text}",
        )
    return replace(found, pinned=True)


def _local_or_pulled(text: str, reference: Reference, settings: Settings, asked: _Asked) -> tuple[Model, bool]:
    if reference.alias is not None:  # only the remote knows what it names
        return _pulled(text, settings, asked)
    tag = Tag(reference.name, reference.version)
    if asked.refresh and reference.version is None:
        try:
            return _pulled(text, settings, asked)
        except NetworkError as error:
            asked.observer(Warned(f"{text} is loaded from the store, which may be behind: {error}"))
    try:
        return opened_store(settings).get(tag), False
    except NotFound:
        if not _reachable(settings, asked.remote) or settings.offline:
            raise
    return _pulled(text, settings, asked)


def _pulled(text: str, settings: Settings, asked: _Asked) -> tuple[Model, bool]:
    """The version, and whether anything had to be fetched for it."""
    pull = pull_version(
        text, remote=asked.remote, force=False, verify="auto", settings=settings, observer=asked.observer
    )
    pulled = wait(pull)
    return pulled.model, pulled.finished.outcome == "done"


def _model(model: Model, settings: Settings) -> Resolved:
    path = Path(model.path)
    store = opened_store(settings)
    known = store.find(model.tag)  # a Model made by hand from some folder must not borrow the record of its tag
    ours = known is not None and Path(known.path).resolve() == path.resolve()
    if ours:
        store.used(model.tag)
    return Resolved(str(model.tag), path, path, store.vouched(model.tag) if ours else None)
