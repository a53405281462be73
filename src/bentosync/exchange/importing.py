"""An archive or a folder as a version of the store.

One pass: what is read is checked, digested and written into a staging folder of the store, and the version appears by
a rename when everything is proven. There is no temporary copy (but see `source` about zip files in other storage), and
until the rename an older version is untouched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from bentosync import settings as configuration
from bentosync.errors import Conflict, InvalidArgument, NoSpace
from bentosync.events import Observer, Warned, ignore
from bentosync.exchange.arrival import Arrival
from bentosync.exchange.external.location import Location
from bentosync.exchange.external.serial import serial
from bentosync.exchange.source import Source, open_distant, open_source
from bentosync.exchange.watch import Watch
from bentosync.formats.archive.extractor import Extractor
from bentosync.formats.archive.member import Limits
from bentosync.formats.model_yaml import FILE_NAME, ModelContext, ModelInfo, ModelOptions
from bentosync.manifest import decode
from bentosync.manifest.values import Manifest
from bentosync.settings import Settings
from bentosync.store.disk import translated
from bentosync.store.model import Model
from bentosync.store.store import Store
from bentosync.tag import LATEST, Tag

Existing: TypeAlias = Literal["refuse", "skip", "replace"]
"""What happens to a version that is in the store already."""

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Imported:
    """The version in the store; `outcome` says whether it came from the archive or was there before."""

    model: Model
    outcome: Literal["done", "skipped"]


def import_model(
    store: Store,
    path: str | Location,
    input_format: str | None = None,
    *,
    name: Tag | str | None = None,
    existing: Existing = "refuse",
    limits: Limits | None = None,
    on_event: Observer = ignore,
    settings: Settings | None = None,
) -> Imported:
    """Read an archive or a folder into the store.

    Args:
        store: Where it goes.
        path: Absolute, or a location in other storage (see `place.of`).
        input_format: What it must be; default what its first bytes say.
        name: What a tree without model.yaml becomes; a tree that has one must be of that name.
        existing: What to do if the version is there: refuse, keep it, or replace it once the new one is whole.
        limits: What the archive may cost.
        on_event: Told about progress, in bytes of the archive.
        settings: How other storage is reached; default those of environment and config files.

    Raises:
        NotFound: There is nothing at `path`.
        InvalidArgument: It is no archive, of another format or name than was said, or needs a name.
        Conflict: The version exists.
        UnsafeInput: The archive is malformed or hostile.
        IntegrityError: A file is not what the archive's manifest says.
        InvalidModel: The folder holds what a model cannot hold.
        LocalIOError: The disk refuses.
        AuthError, NetworkError, MissingExtra: Other storage refuses, breaks off, or needs a library.
    """
    asked = None if name is None else Tag.from_taglike(name)
    with translated(f"importing {path if isinstance(path, str) else path.shown}"):
        observer = on_event if isinstance(path, str) else serial(on_event)
        importing = _Import(store, path, asked, existing, limits or Limits(), observer)
        return importing.run(input_format, settings)


class _Import:
    def __init__(
        self,
        store: Store,
        place: str | Location,
        asked: Tag | None,
        existing: Existing,
        limits: Limits,
        on_event: Observer,
    ) -> None:
        if asked is not None and asked.version == LATEST:
            raise InvalidArgument(f"{asked}: 'latest' is the pointer to the newest version, and no version")
        self._store = store
        self._place = place
        self._path = place if isinstance(place, str) else place.shown
        self._asked = asked
        self._existing = existing
        self._limits = limits
        self._on_event = on_event
        self._watch = Watch(on_event, "import", self._path)

    def run(self, input_format: str | None, settings: Settings | None) -> Imported:
        with self._opened(input_format, settings) as source, self._scratch() as root:
            with Extractor(root, self._limits.entries_max) as extractor:
                arrived = self._arrive(source, root, extractor)
            return self._kept(arrived) if isinstance(arrived, Model) else self._publish(root, arrived)

    @contextmanager
    def _opened(self, input_format: str | None, settings: Settings | None) -> Iterator[Source]:
        place, limits, count = self._place, self._limits, self._watch.count
        if isinstance(place, str):
            with open_source(place, input_format, limits, count) as source:
                yield source
            return
        from bentosync.exchange.external.opening import opened

        self._watch.phase(place.name, "transfer")
        with (
            opened(place, settings or configuration.load(), self._on_event) as storage,
            open_distant(storage, place, input_format, limits, count, self._scratch) as source,
        ):
            yield source

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A staging folder, so that a kill leaves something that others know how to remove."""
        root = self._store.staging()
        try:
            yield root
        finally:
            self._store.drop_staging(root)

    def _publish(self, root: Path, manifest: Manifest) -> Imported:
        card, tag = manifest.card, _tag(manifest)
        self._watch.phase(str(tag), "commit")
        try:
            model = self._store.publish(root, manifest, replace=self._existing == "replace")
        except Conflict:
            # Somebody was faster.
            found = self._store.find(tag) if self._existing == "skip" else None
            if found is None:
                raise
            return self._kept(found)
        self._watch.finish("done", str(tag), files=card.files, total_bytes=card.size, digest=manifest.pin)
        return Imported(model, "done")

    def _arrive(self, source: Source, root: Path, extractor: Extractor) -> Manifest | Model:
        """Write everything into `root`; the manifest of it, or the model that is there already and shall stay."""
        arrival: Arrival | None = None
        made: ModelInfo | None = None
        decided: Tag | None = None
        for member, pieces in source.reader.members():
            if arrival is None:
                body = source.reader.manifest
                carried = None if body is None else decode.body(body)
                made = self._made_info() if source.nameless else None
                decided = _tag(carried) if carried is not None else made.tag if made is not None else None
                name = Path(self._place).name if isinstance(self._place, str) else self._place.name
                shown = str(decided or self._asked or name)
                self._watch.start(shown, files=source.files, total_bytes=source.total_bytes)
                if decided is not None and (found := self._decide(decided, carried)) is not None:
                    return found
                if carried is not None:
                    _check_space(root, carried.card.size)
                arrival = Arrival(root, extractor, carried, self._watch.advance)
            arrival.take(member, pieces)
            if decided is None and arrival.info is not None:
                decided = arrival.info.tag
                if (found := self._decide(decided, None)) is not None:
                    return found
        if arrival is None:
            raise InvalidArgument(f"{self._path} is empty")
        if arrival.info is None:
            made = made or self._made_info()
            if decided is None and (found := self._decide(made.tag, None)) is not None:
                return found
            arrival.add_model_yaml(made)
        return arrival.manifest()

    def _decide(self, tag: Tag, carried: Manifest | None) -> Model | None:
        """The version that is there and shall stay; None to go on.

        Raises:
            Conflict: It is there, and that is not wanted.
            InvalidArgument: Another name was asked for.
        """
        if self._asked is not None and (tag.name, tag.version) != (
            self._asked.name,
            self._asked.version or tag.version,
        ):
            raise InvalidArgument(
                f"{self._path} holds {tag}, and {self._asked} was asked for",
                hint="a name is for folders and archives without model.yaml; leave it out",
            )
        if self._existing == "replace" or not os.path.lexists(self._store.layout.version_dir(tag)):
            return None
        if self._existing == "refuse":
            raise Conflict(
                f"Item '{tag}' already exists in the store {self._store.layout.models}",
                hint="--skip-existing keeps it, --force replaces it",
            )
        record = self._store.record(tag)
        if carried is not None and record is not None and record.manifest.digest != carried.digest:
            self._on_event(Warned(f"{tag} in the store has other content than {self._path}; it is kept"))
        return self._store.find(tag)

    def _made_info(self) -> ModelInfo:
        if self._asked is None:
            raise InvalidArgument(
                f"{self._path} has no {FILE_NAME}, so it does not say what it is called",
                hint=f"bentosync import {self._path} --name NAME[:VERSION]",
            )
        tag = self._asked if self._asked.version is not None else self._asked.make_new_version()
        return ModelInfo(
            tag, module="", labels={}, options=ModelOptions(), metadata={}, context=ModelContext("", {}),
            signatures={}, api_version="v1",
        )  # fmt: skip

    def _kept(self, model: Model) -> Imported:
        self._watch.finish("up-to-date", str(model.tag), files=0, total_bytes=0, digest="")
        return Imported(model, "skipped")


def _tag(manifest: Manifest) -> Tag:
    return Tag(manifest.card.name, manifest.card.version)


def _check_space(root: Path, size: int) -> None:
    free = shutil.disk_usage(root).free
    if free < size:
        raise NoSpace(f"the model has {size} bytes, and {free} are free on the disk of the store")
