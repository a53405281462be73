"""The functions of `bentoml.models`, on the same folder, with the same signatures.

`create`, `get`, `list` and `delete` work on the store that the settings name (BENTOML_HOME); `_model_store` takes
another one. Differences from BentoML: docs/compatibility.md.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from bentosync import aio, settings
from bentosync.blocking import wait
from bentosync.errors import BentoMLException
from bentosync.events import Finished, Observer, ignore
from bentosync.formats.model_yaml import ModelContext, ModelInfo, ModelOptions, ModelSignature
from bentosync.store.model import Model
from bentosync.store.store import Store
from bentosync.sync.pull import Verify
from bentosync.tag import Tag

__all__ = [
    "BentoMLException",
    "Model",
    "ModelContext",
    "ModelInfo",
    "ModelOptions",
    "ModelSignature",
    "Tag",
    "create",
    "delete",
    "export_model",
    "get",
    "import_model",
    "list",
    "pull",
    "push",
]


def create(
    name: Tag | str,
    *,
    labels: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    _model_store: Store | None = None,
    module: str = "",
    api_version: str = "v1",
    signatures: dict[str, Any] | None = None,
    options: ModelOptions | None = None,
    custom_objects: dict[str, Any] | None = None,
    external_modules: Sequence[ModuleType] | None = None,
    context: ModelContext | None = None,
) -> AbstractContextManager[Model]:
    """A new version: write its files below the `path` of the model that `with` yields.

    The version is in the store, whole, when the block ends, and `path` is then its place there. If the block raises,
    nothing remains.

    Args:
        name: `name` for an automatic version, or `name:version`.
        labels: Strings to find it by.
        metadata: Plain Python values, numpy and pandas among them.
        _model_store: The store; default that of the settings.
        module: The module whose `load_model` loads it.
        api_version: Version of that module's format.
        signatures: Its methods.
        options: Options of that module.
        custom_objects: Python objects to be saved beside it with cloudpickle.
        external_modules: Modules whose objects are pickled with their code.
        context: What it was made with.

    Raises:
        InvalidTag: The name is no tag, or its version is `latest`.
        InvalidModel: Labels or metadata that model.yaml cannot hold; dangling links or special files among the files.
        BentoMLException: The version exists.
        MissingExtra: Custom objects are given and cloudpickle is not installed.
        LocalIOError: The disk refuses.
    """
    return _store(_model_store).create(
        name,
        module=module,
        api_version=api_version,
        signatures=signatures,
        labels=labels,
        options=options,
        custom_objects=custom_objects,
        external_modules=external_modules,
        metadata=metadata,
        context=context,
    )


def get(tag: Tag | str, *, _model_store: Store | None = None, model_aliases: dict[str, str] | None = None) -> Model:
    """The version named, the one version that starts with what is named, or the latest.

    Raises:
        NotFound: There is none.
        BentoMLException: Several versions start with it, or the version is damaged.
    """
    if isinstance(tag, str) and model_aliases:
        tag = model_aliases.get(tag, tag)
    return _store(_model_store).get(tag)


def list(tag: Tag | str | None = None, *, _model_store: Store | None = None) -> builtins.list[Model]:
    """All models, all versions of one, or the version named, sorted by tag. Damaged ones are skipped with a warning.

    Raises:
        NotFound: There is no model of that name.
    """
    return _store(_model_store).list(tag)


def delete(tag: Tag | str, *, _model_store: Store | None = None) -> None:
    """Remove a version, or without a version all of them.

    Raises:
        NotFound: It is not there.
    """
    _store(_model_store).delete(tag)


def push(
    tag: Tag | str,
    *,
    force: bool = False,
    remote: str | None = None,
    single_writer: bool | None = None,
    on_event: Observer = ignore,
) -> Finished:
    """Publish a version on a remote: the blocking twin of `bentosync.aio.push`, callable inside a running loop too."""
    return wait(aio.push(tag, force=force, remote=remote, single_writer=single_writer, on_event=on_event))


def pull(
    tag: Tag | str,
    *,
    force: bool = False,
    remote: str | None = None,
    verify: Verify = "auto",
    on_event: Observer = ignore,
) -> Model:
    """Fetch a version from a remote: the blocking twin of `bentosync.aio.pull`, callable inside a running loop too."""
    return wait(aio.pull(tag, force=force, remote=remote, verify=verify, on_event=on_event))


def import_model(path: str, input_format: str | None = None, **_: Any) -> Model:
    """Archives and folders come with 0.2."""
    raise NotImplementedError("importing models comes with bentosync 0.2; until then: bentosync.models.create")


def export_model(tag: Tag | str, path: str, output_format: str | None = None, **_: Any) -> str:
    """Archives and folders come with 0.2."""
    raise NotImplementedError("exporting models comes with bentosync 0.2; until then: bentosync push to file:///…")


def _store(given: Store | None) -> Store:
    if given is not None:
        return given
    found = settings.load()
    return Store(found.home, state_dir=found.state_dir)
