"""model.yaml: what BentoML knows about a model, read and written as BentoML 1.4.39 does.

Written bytes equal BentoML's for the same values: the same keys in the same order through the same dumper. Reading is
BentoML's too, tolerant of unknown keys, but bounded, because a model.yaml may come from anywhere. PyYAML takes 30 ms
to import, so `formats.bounded_yaml` is only imported by what reads or writes a whole document.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import ModuleType
from typing import IO, Any

from msgspec import Struct, field

from bentosync.errors import BentoMLException, InvalidModel, InvalidTag, UnsafeInput
from bentosync.formats.metadata import normalized_labels, normalized_metadata
from bentosync.tag import Tag

FILE_NAME = "model.yaml"
BYTES_MAX = 1 << 20

BENTOML_VERSION = "1.4.39"
"""Recorded in a model's context where BentoML is not installed: the version whose behaviour this module follows."""


def _bentoml_version() -> str:
    # Imported here because it takes longer to import than a list of models to print.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("bentoml")
    except PackageNotFoundError:
        return BENTOML_VERSION


def _python_version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


class ModelOptions:
    """Options of the framework that loads the model; plain values by name."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def with_options(self, **values: Any) -> ModelOptions:
        """A copy with some values replaced."""
        return type(self)(**{**self.to_dict(), **values})

    def to_dict(self) -> dict[str, Any]:
        """The values by name."""
        return dict(vars(self))

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, ModelOptions) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ModelOptions({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"


class ModelContext(Struct, frozen=True):
    """What the model was made with."""

    framework_name: str
    framework_versions: dict[str, str]
    bentoml_version: str = field(default_factory=_bentoml_version)
    python_version: str = field(default_factory=_python_version)

    @staticmethod
    def from_dict(data: Mapping[str, Any] | ModelContext) -> ModelContext:
        """The context from its dict; one that is a context already is returned as it is."""
        if isinstance(data, ModelContext):
            return data
        versions = {name: str(data[name]) for name in ("bentoml_version", "python_version") if name in data}
        return ModelContext(
            framework_name=str(data["framework_name"]),
            framework_versions={str(name): str(version) for name, version in data["framework_versions"].items()},
            **versions,
        )

    def to_dict(self) -> dict[str, Any]:
        """The context as model.yaml holds it."""
        return {
            "framework_name": self.framework_name,
            "framework_versions": dict(self.framework_versions),
            "bentoml_version": self.bentoml_version,
            "python_version": self.python_version,
        }


class ModelSignature(Struct, frozen=True):
    """One method of the model. `batch_dim`: the dimension that batches inputs, and the one that batches outputs."""

    batchable: bool = False
    batch_dim: tuple[int, int] = (0, 0)
    input_spec: Any = None
    output_spec: Any = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelSignature:
        """The signature from its dict, where one integer stands for both batch dimensions."""
        batchable = bool(data.get("batchable", False))
        specs = {name: data[name] for name in ("input_spec", "output_spec") if name in data}
        if "batch_dim" not in data:
            return cls(batchable, **specs)
        dimension = data["batch_dim"]
        first, second = (dimension, dimension) if isinstance(dimension, int) else dimension
        return cls(batchable, (int(first), int(second)), **specs)

    @staticmethod
    def convert_signatures_dict(
        data: Mapping[str, Mapping[str, Any] | ModelSignature],
    ) -> dict[str, ModelSignature]:
        """Signatures by method name; dicts become signatures."""
        return {
            name: value if isinstance(value, ModelSignature) else ModelSignature.from_dict(value)
            for name, value in data.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """The signature as model.yaml holds it: `batch_dim` only if batchable, specs only if given."""
        members: dict[str, Any] = {"batchable": self.batchable}
        if self.batchable:
            members["batch_dim"] = self.batch_dim
        if self.input_spec is not None:
            members["input_spec"] = self.input_spec
        if self.output_spec is not None:
            members["output_spec"] = self.output_spec
        return members


@dataclass(frozen=True, init=False, repr=False)
class ModelInfo:
    """What model.yaml says. Times are aware; `creation_time` is now unless given.

    Raises:
        InvalidModel: Labels, metadata, context or signatures are not what BentoML takes.
    """

    tag: Tag
    module: str
    labels: dict[str, str]
    options: ModelOptions
    metadata: dict[Any, Any]
    context: ModelContext
    signatures: dict[str, ModelSignature]
    api_version: str
    creation_time: datetime

    def __init__(
        self,
        tag: Tag,
        module: str,
        labels: Mapping[str, Any],
        options: Mapping[str, Any] | ModelOptions,
        metadata: Mapping[Any, Any],
        context: Any,
        signatures: Mapping[str, Any],
        api_version: str,
        creation_time: datetime | None = None,
    ) -> None:
        created = datetime.now(UTC) if creation_time is None else creation_time
        values = {
            "tag": tag,
            "module": module,
            "labels": normalized_labels(labels),
            "options": _options(options),
            "metadata": normalized_metadata(metadata),
            "context": _context(context),
            "signatures": _signatures(signatures),
            "api_version": api_version,
            "creation_time": created if created.tzinfo is not None else created.replace(tzinfo=UTC),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """The name part of the tag."""
        return self.tag.name

    @property
    def version(self) -> str:
        """The version part of the tag."""
        return self.tag.version or ""

    @property
    def imported_module(self) -> ModuleType:
        """The framework's module, imported now.

        Raises:
            BentoMLException: There is none, or it is not installed.
        """
        if not self.module:
            raise BentoMLException(
                "Module is not defined in model.yaml. If the module argument is not defined when creating a model "
                "using `bentoml.models.create`, methods that use `ModelInfo.imported_module` are not supported."
            )
        try:
            return importlib.import_module(self.module)
        except (ValueError, ModuleNotFoundError) as error:
            raise BentoMLException(f"Module '{self.module}' defined in model.yaml is not found.") from error

    def with_options(self, **values: Any) -> ModelInfo:
        """A copy with some options replaced."""
        return ModelInfo(
            self.tag, self.module, self.labels, self.options.with_options(**values), self.metadata, self.context,
            self.signatures, self.api_version, self.creation_time,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The values as model.yaml holds them, in its order."""
        return {
            "name": self.tag.name,
            "version": self.tag.version,
            "module": self.module,
            "labels": dict(self.labels),
            "options": self.options.to_dict(),
            "metadata": _plain(self.metadata),
            "context": self.context.to_dict(),
            "signatures": {name: signature.to_dict() for name, signature in self.signatures.items()},
            "api_version": self.api_version,
            "creation_time": self.creation_time.isoformat(),
        }

    def dump(self, stream: IO[str] | None = None) -> str | None:
        """The text of model.yaml, returned, or written to `stream`."""
        text = dumps(self).decode("ascii")
        if stream is None:
            return text
        stream.write(text)
        return None

    def __repr__(self) -> str:
        return f"ModelInfo(tag={self.tag!r}, module={self.module!r}, creation_time={self.creation_time.isoformat()!r})"

    __hash__ = None  # type: ignore[assignment]


def dumps(info: ModelInfo) -> bytes:
    """The bytes of model.yaml, equal to those BentoML 1.4.39 writes.

    Raises:
        InvalidModel: A value has no YAML form (complex, time, timedelta, …), or the result is over 1 MiB.
    """
    from bentosync.formats import bounded_yaml

    try:
        data = bounded_yaml.dump(info.to_dict())
    except ValueError as error:
        raise InvalidModel(f"{FILE_NAME} of {info.tag} cannot hold this: {error}") from error
    if len(data) > BYTES_MAX:
        raise InvalidModel(
            f"{FILE_NAME} of {info.tag} would be {len(data)} bytes, over {BYTES_MAX}",
            hint="keep large metadata in a file of the model",
        )
    return data


def loads(data: bytes) -> ModelInfo:
    """What a model.yaml says. Unknown keys are ignored, as BentoML does.

    Raises:
        UnsafeInput: It is not YAML, not a mapping, lacks a key, or holds a value of the wrong kind.
    """
    from bentosync.formats import bounded_yaml

    try:
        content = bounded_yaml.load(data, bytes_max=BYTES_MAX)
    except ValueError as error:
        raise UnsafeInput(f"malformed {FILE_NAME}: {error}") from error
    if not isinstance(content, dict):
        raise UnsafeInput(f"malformed {FILE_NAME}")
    try:
        return _info(content)
    except KeyError as error:
        raise UnsafeInput(f"malformed {FILE_NAME}: it lacks {str(error.args[0])!r}") from None
    except InvalidTag as error:
        raise UnsafeInput(f"malformed {FILE_NAME}: {error.message}") from None
    except (InvalidModel, TypeError, ValueError, AttributeError) as error:
        raise UnsafeInput(f"malformed {FILE_NAME}: {str(error)[:300]}") from error


def _info(content: dict[Any, Any]) -> ModelInfo:
    context = dict(content["context"])
    # Models made before BentoML 1.0.0rc1.
    if "pip_dependencies" in context:
        context["framework_versions"] = {}
    return ModelInfo(
        tag=Tag(content["name"], _required(content, "version")),
        module=str(content["module"]),
        labels={str(key): str(value) for key, value in content["labels"].items()},
        options={str(key): value for key, value in content["options"].items()},
        metadata=dict(content["metadata"]),
        context=ModelContext.from_dict(context),
        signatures=dict(content.get("signatures", {})),
        api_version=str(content["api_version"]),
        creation_time=_time(content["creation_time"]),
    )


def _required(content: Mapping[str, Any], key: str) -> Any:
    if content[key] is None:
        raise KeyError(key)
    return content[key]


def _time(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    raise TypeError(f"creation_time is {value!r}")


def _options(options: Any) -> ModelOptions:
    if isinstance(options, ModelOptions):
        return options
    # BentoML's own options and context are taken by what they say, so that code may pass either.
    return ModelOptions(**(options.to_dict() if hasattr(options, "to_dict") else options))


def _context(context: Any) -> ModelContext:
    if isinstance(context, ModelContext):
        return context
    try:
        return ModelContext.from_dict(context.to_dict() if hasattr(context, "to_dict") else context)
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidModel(f"context must be a ModelContext, got {type(context).__name__}") from error


def _signatures(signatures: Any) -> dict[str, ModelSignature]:
    try:
        return ModelSignature.convert_signatures_dict(signatures)
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidModel(f"signatures must be dicts like {{'predict': {{'batchable': True}}}}: {error}") from error


def _plain(value: Any) -> Any:
    """Containers copied (so that the dumper sees no sharing) and times as text, as BentoML's converter does."""
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
