"""One version in the store, with the surface of BentoML's `Model`.

`==` and hash are by tag. Custom objects are pickles: they are loaded when the attribute is read and never before.

As a class variable of a BentoML service a model is recorded in the Bento: `to_info` and its three neighbours are what
BentoML's SDK asks of such a variable (`bentosync.service`).
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from bentosync import service
from bentosync.errors import BentoMLException, IntegrityError, InvalidModel
from bentosync.formats import model_yaml
from bentosync.formats.model_yaml import ModelInfo
from bentosync.store import tree
from bentosync.tag import Tag

CUSTOM_OBJECTS = "custom_objects.pkl"


class Model:
    """A version. `path` is where its files are: in the making while it is created, then in the store."""

    def __init__(
        self,
        tag: Tag,
        path: str | os.PathLike[str],
        info: ModelInfo,
        custom_objects: dict[str, Any] | None = None,
        *,
        internal: bool = False,
    ) -> None:
        if not internal:
            raise BentoMLException(
                "Model cannot be instantiated directly; use bentoml.<framework>.save or bentoml.models.get instead",
                hint="bentosync.models.get or bentosync.models.create",
            )
        self._tag = tag
        self._path = Path(path)
        self._info = info
        self._custom_objects = custom_objects
        self._attr: str | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        self._attr = name

    def __get__(self, instance: object | None, owner: type) -> Model:
        """The model itself; the moment to tell BentoML, if it is there, what this class variable is."""
        if instance is None:
            service.recognise(type(self))
        return self

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> Model:
        """The model in a folder.

        Raises:
            IntegrityError: There is no model.yaml, or it says nothing useful.
        """
        root = Path(path)
        if not os.path.lexists(root / model_yaml.FILE_NAME):
            raise IntegrityError(
                f"Failed to load bento model because it does not contain a '{model_yaml.FILE_NAME}'",
                hint=f"{root} may be half-written: bentosync verify --repair NAME:VERSION fetches it again, "
                "or delete that folder",
            )
        info = model_yaml.loads(tree.read_small(root, model_yaml.FILE_NAME, model_yaml.BYTES_MAX))
        return cls(info.tag, root, info, internal=True)

    @property
    def tag(self) -> Tag:
        """Name and version."""
        return self._tag

    @property
    def path(self) -> str:
        """The folder of its files."""
        return str(self._path)

    def path_of(self, item: str) -> str:
        """The path of a file of the model; a leading slash means the model's folder."""
        return str(self._path / item.lstrip("/"))

    @property
    def info(self) -> ModelInfo:
        """What model.yaml says."""
        return self._info

    @property
    def creation_time(self) -> datetime:
        """Aware, as model.yaml says."""
        return self._info.creation_time

    @property
    def file_size(self) -> int:
        """Bytes of all files, counted now."""
        return tree.size(self._path)

    @property
    def custom_objects(self) -> dict[str, Any]:
        """The objects saved beside the model. Reading this runs their pickle: only do it for models you trust."""
        if self._custom_objects is None:
            path = self._path / CUSTOM_OBJECTS
            if not path.is_file():
                self._custom_objects = {}
                return self._custom_objects
            # What cloudpickle writes is an ordinary pickle; the module is imported by nobody else.
            import pickle

            with path.open("rb") as file:
                loaded = pickle.load(file)
            if not isinstance(loaded, dict):
                raise InvalidModel(f"{path} does not hold a dict")
            self._custom_objects = loaded
        return self._custom_objects

    def validate(self) -> None:
        """Refuse a model without model.yaml."""
        if not (self._path / model_yaml.FILE_NAME).is_file():
            raise BentoMLException(f"{self!s} does not contain a {model_yaml.FILE_NAME}.")

    def with_options(self, **values: Any) -> Model:
        """The same model with some options replaced in `info`."""
        return Model(self._tag, self._path, self._info.with_options(**values), self._custom_objects, internal=True)

    def load_model(self, *args: Any, **kwargs: Any) -> Any:
        """What the framework's own `load_model` makes of it.

        Raises:
            BentoMLException: model.yaml names no module, or it is not installed.
        """
        module = self._info.imported_module
        # BentoML's framework modules know their own Model only, and take a tag for any other.
        inside = module.__name__.partition(".")[0] == "bentoml"
        return module.load_model(str(self._tag) if inside else self, *args, **kwargs)

    def to_runnable(self) -> Any:
        """Refused: runners are BentoML's."""
        module = self._info.imported_module
        raise BentoMLException(
            f"{self!s}: runners of {module.__name__} need BentoML's own Model",
            hint=f"bentoml.models.get('{self._tag}').to_runner()",
        )

    def to_runner(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: runners are BentoML's."""
        return self.to_runnable()

    def export(self, *args: Any, **kwargs: Any) -> str:
        """Refused: a model knows its files, not how to pack them."""
        raise BentoMLException(
            f"{self!s} does not export itself", hint=f"bentosync.models.export_model('{self._tag}', path)"
        )

    # --- as a dependency of a BentoML service -------------------------------------------------------------------------

    def to_info(self, alias: str | None = None) -> Any:
        """The entry of a Bento for this model: BentoML's own object.

        Raises:
            MissingExtra: BentoML is not installed.
        """
        return service.model_info(
            str(self._tag), module=self._info.module, created=self._info.creation_time, alias=alias
        )

    @classmethod
    def from_info(cls, info: Any) -> Any:
        """BentoML's own reference to the model that an entry of a Bento names."""
        return service.sdk_model(str(info.tag))

    def to_create_schema(self) -> Any:
        """What BentoCloud is told about the model: BentoML's own object."""
        return service.sdk_model(str(self._tag)).to_create_schema()

    def resolve(self, base_path: str | os.PathLike[str] | None = None) -> Model:
        """The model; with `base_path` BentoML also copies it into the store there."""
        if base_path is not None:
            service.sdk_model(str(self._tag)).resolve(base_path)
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self._tag == other._tag

    def __hash__(self) -> int:
        return hash(self._tag)

    def __str__(self) -> str:
        return f'Model(tag="{self._tag}")'

    def __repr__(self) -> str:
        return f'Model(tag="{self._tag}", path="{self._path}")'
