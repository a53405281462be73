"""Which local Bentos use a model: BentoML refuses to delete one that is in use, and so do we."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bentosync.errors import BentoMLException


def users_of(home: Path, tag: str) -> list[str]:
    """Tags of the Bentos below `home/bentos` that name the model `tag`; a Bento that cannot be read uses nothing."""
    return [bento for bento, models in _bentos(home) if tag in models]


def refuse_if_used(home: Path, tag: str) -> None:
    """Raises `BentoMLException`, in BentoML's words, if a local Bento needs the model."""
    if used_by := users_of(home, tag):
        raise BentoMLException(
            f"Model {tag} is being used by the following bentos and can't be deleted:\n  " + "\n  ".join(used_by)
        )


def _bentos(home: Path) -> Iterator[tuple[str, set[str]]]:
    import yaml

    for file in sorted((home / "bentos").glob("*/*/bento.yaml")):
        # A Bento that carries its own copy of the models needs none from the store.
        if (file.parent / "models").is_dir():
            continue
        try:
            document = yaml.safe_load(file.read_bytes())
        except (OSError, yaml.YAMLError):
            continue
        if isinstance(document, dict):
            yield f"{file.parent.parent.name}:{file.parent.name}", set(_tags(document))


def _tags(document: dict[str, Any]) -> Iterator[str]:
    services = document.get("services")
    for section in (document, *(services if isinstance(services, list) else ())):
        models = section.get("models") if isinstance(section, dict) else None
        for model in models if isinstance(models, list) else ():
            if isinstance(model, dict) and isinstance(model.get("tag"), str):
                yield model["tag"]
