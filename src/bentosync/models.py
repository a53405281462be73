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

from bentosync import aio, service, settings
from bentosync.blocking import wait
from bentosync.errors import BentoMLException, NotFound
from bentosync.events import Finished, Observer, ignore
from bentosync.exchange import exporting, importing, place
from bentosync.exchange.importing import Existing
from bentosync.formats.model_yaml import ModelContext, ModelInfo, ModelOptions, ModelSignature
from bentosync.integrations.bento_model import BentoModel
from bentosync.store.model import Model
from bentosync.store.store import Store
from bentosync.sync.pull import Verify
from bentosync.tag import Tag

__all__ = [
    "BentoMLException",
    "BentoModel",
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


def __getattr__(name: str) -> Any:
    # BentoML's own, for `from bentosync.models import HuggingFaceModel`: it knows no store.
    if name == "HuggingFaceModel":
        return service.sdk(name)
    raise AttributeError(f"module '{__name__}' has no attribute {name!r}")


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

    As a class variable of a BentoML service it is recorded in the Bento, but it must then be in the store when the
    module is imported; `BentoModel` need not be. In a Bento that carries its models, it is one of those.

    Raises:
        NotFound: There is none.
        BentoMLException: Several versions start with it, or the version is damaged.
    """
    if isinstance(tag, str):
        tag = (service.model_aliases() if model_aliases is None else model_aliases).get(tag, tag)
    wanted = Tag.from_taglike(tag)
    service.warn_in_constructor(f"bentosync.models.get('{wanted}')", wanted.name)
    if _model_store is None and (carried := service.bento_models()) is not None:
        try:
            return Store(carried.parent).get(wanted)
        except NotFound:
            pass
    store = _store(_model_store)
    found = store.get(wanted)
    store.used(found.tag)
    return found


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
    as_is: bool = False,
    resend: bool = False,
    single_writer: bool | None = None,
    on_event: Observer = ignore,
) -> Finished:
    """Publish a version on a remote: the blocking twin of `bentosync.aio.push`, callable inside a running loop too."""
    pushing = aio.push(
        tag, force=force, as_is=as_is, resend=resend, remote=remote, single_writer=single_writer, on_event=on_event
    )
    return wait(pushing)


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


def import_model(
    path: str,
    input_format: str | None = None,
    *,
    protocol: str | None = None,
    user: str | None = None,
    passwd: str | None = None,
    params: dict[str, str] | None = None,
    subpath: str | None = None,
    _model_store: Store | None = None,
    name: Tag | str | None = None,
    existing: Existing = "refuse",
    on_event: Observer = ignore,
) -> Model:
    """A version from an archive or a folder, proven if it carries a manifest. Nothing is visible before it is whole.

    Args:
        path: A `.bentomodel`, tar, zip or folder: relative to the working directory, or a URL (`s3://`, `gs://`, `az://`,
            `ftp://`, `sftp://`, `webdav://`, `dropbox://`, `hf://`, `https://`).
        input_format: What it must be; default what its first bytes say.
        protocol: The scheme of a URL whose host or bucket, and path, are in `path`; with a URL none of these five.
        user: User name, or access key.
        passwd: Password, or secret key.
        params: Options of the storage, as in the query of a URL.
        subpath: Appended to `path`.
        _model_store: The store; default that of the settings.
        name: What a folder or archive without model.yaml becomes, a Hugging Face snapshot for instance.
        existing: If the version is in the store: `refuse`, `skip` (return that one) or `replace`.
        on_event: Told about progress.

    Raises:
        NotFound: There is nothing at `path`.
        InvalidArgument: It is no archive, of another format or name than was said, or needs a name.
        Conflict: The version exists; BentoML's message.
        UnsafeInput: The archive is malformed or hostile.
        IntegrityError: A file is not what the archive's manifest says.
        InvalidModel: The folder holds what a model cannot hold.
        LocalIOError: The disk refuses.
        AuthError, NetworkError: Other storage refuses, or broke off.
        MissingExtra: It needs a library; the hint installs it.
    """
    found = place.of(path, protocol=protocol, user=user, passwd=passwd, params=params, subpath=subpath)
    store = _store(_model_store)
    return importing.import_model(store, found, input_format, name=name, existing=existing, on_event=on_event).model


def export_model(
    tag: Tag | str,
    path: str,
    output_format: str | None = None,
    *,
    protocol: str | None = None,
    user: str | None = None,
    passwd: str | None = None,
    params: dict[str, str] | None = None,
    subpath: str | None = None,
    _model_store: Store | None = None,
    compress: bool = False,
    on_event: Observer = ignore,
) -> str:
    """Write a version to an archive or a folder and return its absolute path, or its URL.

    What is returned can be imported. If credentials were given, they are part of it.

    Args:
        tag: Which; `latest` and unique prefixes will do.
        path: A file, or a folder to put it in under its default name: relative to the working directory, or a URL as
            for `import_model`.
        output_format: `bentomodel`, `gz`, `xz`, `bz2`, `zst`, `tar`, `zip` or `folder`; default what `path` ends with,
            else `bentomodel`.
        protocol: As for `import_model`, like the next four.
        user: User name, or access key.
        passwd: Password, or secret key.
        params: Options of the storage.
        subpath: Appended to `path`.
        _model_store: The store; default that of the settings.
        compress: Spend time on making it smaller; weights hardly get smaller.
        on_event: Told about progress.

    Raises:
        NotFound: There is no such version.
        Unsupported: There is no such format or protocol.
        InvalidArgument: The format cannot be compressed, or the target cannot be one.
        Conflict: The target is a folder that exists.
        IntegrityError: A file is not what its digests say.
        LocalIOError: The disk refuses; an older archive at the target is still there.
        AuthError, NetworkError: Other storage refuses, or broke off; nothing that looks whole is there.
        MissingExtra: It needs a library; the hint installs it.
    """
    found = place.of(path, protocol=protocol, user=user, passwd=passwd, params=params, subpath=subpath)
    store = _store(_model_store)
    return exporting.export_model(store, tag, found, output_format, compress=compress, on_event=on_event).place


def _store(given: Store | None) -> Store:
    if given is not None:
        return given
    found = settings.load()
    return Store(found.home, state_dir=found.state_dir)
