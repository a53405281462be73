"""What all folders have in common when they are read as members, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from bentosync.formats.archive.member import Bytes, Member
from bentosync.formats.model_yaml import FILE_NAME

Source = TypeVar("Source")


class FolderListing(Generic[Source]):
    """A folder whose members are known, in path order, each with where its bytes come from.

    The contract is `member.Reader`'s; whoever inherits says what the bytes are.
    """

    manifest = None

    def __init__(self, listed: Iterable[tuple[Member, Source]]) -> None:
        self._listed = sorted(listed, key=lambda found: found[0].path)

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(member.size for member, _ in self._listed)

    @property
    def files(self) -> int:
        """How many files there are."""
        return sum(not member.directory for member, _ in self._listed)

    @property
    def nameless(self) -> bool:
        """Whether there is no model.yaml."""
        return all(member.path != FILE_NAME for member, _ in self._listed)

    def members(self) -> Iterator[tuple[Member, Iterator[Bytes]]]:
        """Each member with its bytes."""
        for member, source in self._listed:
            yield member, iter(()) if member.directory else self._pieces(member, source)

    def _pieces(self, member: Member, source: Source) -> Iterator[Bytes]:
        raise NotImplementedError
