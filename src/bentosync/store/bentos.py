"""Which local Bentos use a model: BentoML refuses to delete one that is in use, and so do we."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from bentosync.tag import LATEST, Tag

_BYTES_MAX = 16 << 20


class Bento(Struct, frozen=True):
    """A local Bento and the models it takes from the store; `models` is None if its document cannot be read."""

    tag: str
    models: frozenset[str] | None

    def uses(self, model: Tag) -> bool:
        """Whether it names this version, or whatever version is the latest."""
        wanted = {str(model), model.name, f"{model.name}:{LATEST}"}
        return self.models is not None and not wanted.isdisjoint(self.models)


def bentos(home: Path) -> Iterator[Bento]:
    """The Bentos below `home/bentos`, except those that carry their own copy of the models."""
    for file in sorted((home / "bentos").glob("*/*/bento.yaml")):
        if (file.parent / "models").is_dir():
            continue
        yield Bento(f"{file.parent.parent.name}:{file.parent.name}", models_of(file))


def models_of(file: Path) -> frozenset[str] | None:
    """The models that a bento.yaml names; None if it cannot be read."""
    import yaml

    try:
        with file.open("rb") as stream:
            document = yaml.safe_load(stream.read(_BYTES_MAX))
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return None
    return frozenset(_tags(document)) if isinstance(document, dict) else None


def _tags(document: dict[str, Any]) -> Iterator[str]:
    services = document.get("services")
    for section in (document, *(services if isinstance(services, list) else ())):
        models = section.get("models") if isinstance(section, dict) else None
        for model in models if isinstance(models, list) else ():
            if isinstance(model, dict) and isinstance(model.get("tag"), str):
                yield model["tag"]
            elif isinstance(model, str):
                yield model
