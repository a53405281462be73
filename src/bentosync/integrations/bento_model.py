"""A model that a BentoML service depends on: `model_ref = bentosync.BentoModel("m:v1")` as a class variable.

The same surface as `bentoml.models.BentoModel`, in the same places:

- `bentoml build` asks `to_info`, and the Bento names the exact version. A version that the store lacks is pulled then,
  because whatever BentoML does with a Bento later (containerize, export, serve) looks into the store alone;
- a Bento that carries its models answers from them, as in a container;
- a Bento that does not, on a host whose store lacks the version, has it pulled while its code is imported: that is
  before BentoML looks for it. The version is the one that the Bento names, also where the code says `latest`;
- in an instance of the service the attribute is the `Model`, resolved once.

Nothing is read, and no remote is asked, before one of these moments.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bentosync import aio, service
from bentosync import settings as configuration
from bentosync.blocking import wait
from bentosync.errors import BentoMLException, NotFound
from bentosync.settings import Settings
from bentosync.store import bentos
from bentosync.store.model import Model
from bentosync.store.store import Store
from bentosync.tag import LATEST, Tag


class BentoModel:
    """A version of a model, found when it is needed: in the store, else on the remote.

    Args:
        tag: `name:version`; without a version, or with `latest`, the store's latest if it has one, else the remote's.
        remote: Where to pull it from if the store lacks it: a configured remote's name, or a URL; None for the default.

    Raises:
        InvalidTag: It is no tag.
    """

    def __init__(self, tag: Tag | str, *, remote: str | None = None) -> None:
        self.tag = Tag.from_taglike(tag)
        self._remote = remote
        self._pinned: Tag | None = None
        self._resolved: Model | None = None
        service.warn_in_constructor(f"bentosync.BentoModel('{self.tag}')", self.tag.name)

    def __get__(self, instance: object | None, owner: type) -> Any:
        """The reference itself on the class, the model on an instance."""
        if instance is None:
            service.recognise(type(self))
            self._look_into_bento(owner)
            return self
        if self._resolved is None:
            self._resolved = self.resolve()
        return self._resolved

    @property
    def stored(self) -> Model | None:
        """The version if it is on this disk."""
        return self._stored(configuration.load())

    def resolve(self, base_path: str | os.PathLike[str] | None = None) -> Model:
        """The model; afterwards it is on this disk, and with `base_path` a copy is in the store there too.

        Raises:
            NotFound: Neither the store nor a remote has it.
            BentoMLException: What a pull raises; see `bentosync.pull`.
        """
        settings = configuration.load()
        found = self._stored(settings) or self._pulled(settings)
        return found if base_path is None else found.resolve(base_path)

    def to_info(self, alias: str | None = None) -> Any:
        """The entry of a Bento, with the exact version; asked by `bentoml build`."""
        return self.resolve().to_info(alias)

    @classmethod
    def from_info(cls, info: Any) -> BentoModel:
        """The reference that an entry of a Bento stands for."""
        return cls(str(info.tag))

    def to_create_schema(self) -> Any:
        """What BentoCloud is told about the model; asked by `bentoml push`."""
        return self.resolve().to_create_schema()

    def _stored(self, settings: Settings) -> Model | None:
        inside = service.bento_models()
        tag = self._pinned or self.tag
        if inside is not None and (carried := _in_store(Store(inside.parent), tag)) is not None:
            return carried
        return _in_store(Store(settings.home, state_dir=settings.state_dir), tag)

    def _pulled(self, settings: Settings) -> Model:
        tag = self._pinned or self.tag
        if not self._reachable(settings):
            raise NotFound(
                f"Model '{tag}' is not in the store {settings.home}, and there is no remote to pull it from",
                hint="name one: BENTOSYNC_REMOTE=s3://bucket/prefix, `bentosync remote add`, or BentoModel(remote=…)",
            )
        return wait(aio.pull(tag, remote=self._remote, settings=settings))

    def _reachable(self, settings: Settings) -> bool:
        try:
            chosen = configuration.choose_remote(settings, self._remote)
        except BentoMLException:
            return False
        return not settings.offline or chosen.url.startswith("file:")

    def _look_into_bento(self, owner: type) -> None:
        """If the class comes from a Bento: which version that names, and get it before BentoML looks for it."""
        folder = service.bento_of(owner)
        if folder is None or self._pinned is not None:
            return
        self._pinned = _named(folder, self.tag)
        settings = configuration.load()
        # Without a remote of ours nothing is lost: BentoML goes on, and asks BentoCloud.
        if self._stored(settings) is None and self._reachable(settings):
            self._pulled(settings)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BentoModel) and self.tag == other.tag

    def __hash__(self) -> int:
        return hash(self.tag)

    def __str__(self) -> str:
        return str(self.tag)

    def __repr__(self) -> str:
        return f"BentoModel(tag={self.tag!r})"


def _in_store(store: Store, tag: Tag) -> Model | None:
    try:
        return store.get(tag)
    except NotFound:
        return None


def _named(folder: Path, tag: Tag) -> Tag:
    """The version of a model that a Bento names, where the code names none."""
    if tag.version not in (None, LATEST):
        return tag
    named = bentos.models_of(folder / service.BENTO_FILE) or ()
    found = [Tag.from_str(text) for text in named if text.partition(":")[0] == tag.name]
    return found[0] if len(found) == 1 else tag
