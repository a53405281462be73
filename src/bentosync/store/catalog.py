"""What is in the store, read as BentoML reads it. Needs no lock and writes nothing.

One damaged or foreign folder never hides the others: lists skip it with a warning.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from bentosync.errors import BentoMLException, IntegrityError, InvalidTag, NotFound
from bentosync.store import latest
from bentosync.store.layout import SWAP, Layout
from bentosync.store.model import Model
from bentosync.store.summary import Summary, summarize
from bentosync.tag import LATEST, Tag

Item = TypeVar("Item", Model, Summary)
_REPLACED_MAX = 3
_logger = logging.getLogger("bentosync")


class Catalog:
    """The reading half of one store."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def swap_interrupted(self) -> bool:
        """Whether a version may be missing because a replacement is, or died, between its two renames."""
        try:
            return any(name.startswith(SWAP) for name in os.listdir(self._layout.trash))
        except OSError:
            return False

    def find(self, tag: Tag) -> Model | None:
        """Exactly this version, or None if it is not there.

        Raises:
            BentoMLException: It is there and damaged.
        """
        folder = self._layout.version_dir(tag)
        for _ in range(_REPLACED_MAX):
            seen = _identity(folder)
            if seen is None:
                return None
            try:
                return self._open(tag)
            except BentoMLException:
                if _identity(folder) == seen:
                    raise  # not deleted or replaced while it was read: damaged
        return self._open(tag)

    def match(self, tag: Tag) -> Model:
        """The version named, or the one version that starts with what is named.

        Raises:
            NotFound: There is none.
            BentoMLException: Several versions start with it, or the version is damaged.
        """
        if (model := self.find(tag)) is not None:
            return model
        matches = [found for found in self.versions(tag.name) if str(found.version).startswith(str(tag.version))]
        if len(matches) == 1 and (model := self.find(matches[0])) is not None:
            return model
        if len(matches) > 1:
            versions = ", ".join(str(found.version) for found in matches)
            raise BentoMLException(f"Multiple {tag.name} versions found: {versions}", hint="name one of them in full")
        raise NotFound(
            f"Model '{tag}' is not found in BentoML store {self._layout.models}, "
            "you may need to run `bentoml models pull` first",
            hint=f"bentosync pull {tag}",
        )

    def latest(self, name: str) -> tuple[Model, bool]:
        """The latest version, and whether the pointer names it.

        Raises:
            NotFound: There is no version of that name.
            BentoMLException: The version the pointer names is damaged.
        """
        version = latest.read(self._layout.latest(name))
        if version is not None and (model := self.find(Tag(name, version))) is not None:
            return model, True
        newest = self.newest(name)
        if newest is None:
            raise NotFound(
                f"no Models with name '{name}' exist in BentoML store {self._layout.models}",
                hint=f"bentosync pull {name}",
            )
        return newest, False

    def newest(self, name: str) -> Model | None:
        """The version created last, whatever the pointer says; the version decides between equals."""
        return max(self._readable(name), key=lambda model: (model.creation_time, model.tag), default=None)

    def models(self, tag: Tag | None) -> list[Model]:
        """All models, all versions of one, or the version named (an empty list if it is not there), sorted by tag.

        Raises:
            NotFound: There is no model of that name.
            BentoMLException: The version named is damaged.
        """
        if tag is None:
            return [model for name in self.names() for model in self._readable(name)]
        if tag.version is not None:
            there = tag.version != LATEST and self._layout.version_dir(tag).is_dir()
            model = self.find(tag) if there else None
            return [] if model is None else [model]
        if not self._layout.name_dir(tag.name).is_dir():
            raise NotFound(f"no Models with name '{tag.name}' found")
        return [*self._readable(tag.name)]

    def summaries(self, name: str | None) -> Iterator[Summary]:
        """What a list of all models, or of one, shows, sorted by tag."""
        for each in self.names() if name is None else [name]:
            for tag in self.versions(each):
                summary = self._skipping(tag, summarize)
                if summary is not None:
                    yield summary

    def names(self) -> list[str]:
        """The names that have a folder."""
        return sorted(name for name in _folders(self._layout.models) if self._tag(name) is not None)

    def versions(self, name: str) -> list[Tag]:
        """The versions that have a folder, damaged ones included, sorted."""
        folders = _folders(self._layout.name_dir(name))
        # The folder `latest` is what BentoML leaves after create("m:latest").
        return sorted(filter(None, (self._tag(name, version) for version in folders if version != LATEST)))

    def _readable(self, name: str) -> Iterator[Model]:
        for tag in self.versions(name):
            model = self._skipping(tag, Model.from_path)
            if model is not None:
                yield model

    def _open(self, tag: Tag) -> Model:
        return _of(tag, Model.from_path(self._layout.version_dir(tag)), self._layout)

    def _skipping(self, tag: Tag, read: Callable[[str], Item]) -> Item | None:
        path = f"{self._layout.models}/{tag.path()}"
        try:
            return _of(tag, read(path), self._layout)
        except (BentoMLException, OSError) as error:
            _logger.warning("skipping %s: %s", path, error)
            return None

    def _tag(self, name: str, version: str | None = None) -> Tag | None:
        try:
            tag = Tag(name, version)
        except InvalidTag:
            tag = None
        # Upper case is refused too: the folder of its lower-case tag would be another one.
        if tag is None or (tag.name, tag.version) != (name, version):
            _logger.warning("skipping %s: its name is not a tag's", self._layout.models / name / (version or ""))
            return None
        return tag


def _of(tag: Tag, item: Item, layout: Layout) -> Item:
    """Refuse a folder that holds another version: what is deleted or pushed by its tag would be another folder."""
    if item.tag != tag:
        raise IntegrityError(
            f"{layout.version_dir(tag)} holds {item.tag} by its model.yaml",
            hint="rename the folder, or correct name and version in model.yaml",
        )
    return item


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
