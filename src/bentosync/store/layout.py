"""Where everything lies: BentoML's folders, and ours beside them (docs/formats/local-state.md).

BentoML takes every folder below `models/` for a model and fails on one that is not, so nothing of ours is ever there.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from bentosync.tag import LATEST, Tag

STATE_FOLDER = ".bentosync"
SWAP = "swap-"
"""What names in the trash start with that are the old life of a version (`trash`)."""


class Layout(Struct, frozen=True):
    """Paths of one store. `state_dir` must be on the file system of `models`; default `home/.bentosync`."""

    home: Path
    state_dir: Path | None = None

    @property
    def models(self) -> Path:
        """BentoML's store."""
        return self.home / "models"

    @property
    def state(self) -> Path:
        """Everything of ours."""
        return self.state_dir or self.home / STATE_FOLDER

    @property
    def staging(self) -> Path:
        """Trees in the making: `<random>/tree` and `<random>/lock`, locked while their maker lives."""
        return self.state / "staging"

    @property
    def trash(self) -> Path:
        """Trees on their way out."""
        return self.state / "trash"

    @property
    def locks(self) -> Path:
        """Lock files."""
        return self.state / "locks"

    @property
    def partials(self) -> Path:
        """Pulls in flight."""
        return self.state / "partial"

    @property
    def quarantine(self) -> Path:
        """Trees found damaged."""
        return self.state / "quarantine"

    def name_dir(self, name: str) -> Path:
        """All versions of a model."""
        return self.models / name

    def version_dir(self, tag: Tag) -> Path:
        """One version."""
        return self.models / tag.path()

    def latest(self, name: str) -> Path:
        """The pointer file."""
        return self.models / name / LATEST

    def record_path(self, tag: Tag) -> Path:
        """Digests and stamps of a version."""
        return self.state / "manifests" / tag.name / f"{tag.version}.record"

    def use_path(self, tag: Tag, what: str) -> Path:
        """A version's stamp of use (`what` is "used") or its pin ("pin")."""
        return self.state / "use" / tag.name / f"{tag.version}.{what}"

    def partial_dir(self, digest: str) -> Path:
        """The pull of the manifest with this digest (64 hexadecimal digits)."""
        return self.partials / digest

    def lock_path(self, name: str) -> Path:
        """A lock file: `<name>` while the model's folder changes, `<name>:<version>` while a version is worked on."""
        return self.locks / name
