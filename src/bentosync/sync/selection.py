"""Which files of a version are meant by `--include` and `--exclude`. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from msgspec import Struct

from bentosync.errors import NotFound
from bentosync.manifest.values import Manifest


class Selection(Struct, frozen=True):
    """Shell patterns over paths with `/`; `*` also matches `/`, so `*.json` means those in sub-folders too.

    Without `include` everything is meant; what matches `exclude` is not.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        """Whether a file is meant."""
        included = not self.include or any(fnmatchcase(path, pattern) for pattern in self.include)
        return included and not any(fnmatchcase(path, pattern) for pattern in self.exclude)

    def of(self, manifest: Manifest) -> frozenset[str]:
        """The files of a version that are meant.

        Raises:
            NotFound: There are none.
        """
        chosen = frozenset(entry.path for entry in manifest.files if self.takes(entry.path))
        if not chosen:
            card = manifest.card
            some = ", ".join(entry.path for entry in manifest.files[:5])
            raise NotFound(
                f"no file of {card.name}:{card.version} is selected", hint=f"it has {card.files} files, such as {some}"
            )
        return chosen
