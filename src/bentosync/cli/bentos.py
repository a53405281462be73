"""BentoML's refusal to delete a model that a local Bento uses."""

from __future__ import annotations

from pathlib import Path

from bentosync.errors import BentoMLException
from bentosync.store.bentos import bentos
from bentosync.tag import Tag


def refuse_if_used(home: Path, tag: Tag) -> None:
    """Raises `BentoMLException`, in BentoML's words, if a local Bento needs the model."""
    if used_by := [bento.tag for bento in bentos(home) if str(tag) in (bento.models or ())]:
        raise BentoMLException(
            f"Model {tag} is being used by the following bentos and can't be deleted:\n  " + "\n  ".join(used_by)
        )
