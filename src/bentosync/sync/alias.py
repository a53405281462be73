"""Aliases on a remote: pointers that people set, so that `m@prod` is exactly what was promoted.

Readers follow them in `resolve`. Format and rules: docs/formats/remote-layout.md.
"""

from __future__ import annotations

from msgspec import Struct

from bentosync.errors import Conflict, NotFound, UnsafeInput
from bentosync.remote import keys
from bentosync.remote.contract import Remote
from bentosync.sync import pointer
from bentosync.sync.documents import Pointer
from bentosync.sync.resolve import fetch
from bentosync.tag import Reference, Tag, check_alias
from bentosync.transfer import engine


class Alias(Struct, frozen=True):
    """An alias of model `name` and what it names; `pointer` is None where what lies there is no pointer."""

    name: str
    alias: str
    pointer: Pointer | None


async def point(remote: Remote, tag: Tag, alias: str) -> Alias:
    """Let `alias` name a version that is on the remote, whatever it named before.

    Raises:
        NotFound: The version is not there.
        InvalidTag: It is no name for an alias.
    """
    key = keys.alias_key(tag.name, check_alias(alias))
    found = await fetch(remote, tag, Reference(tag.name, tag.version))
    pointer = Pointer.to(found.manifest)
    await remote.write(key, pointer.encode())
    return Alias(tag.name, alias, pointer)


async def remove(remote: Remote, name: str, alias: str) -> None:
    """Forget an alias; the version that it named stays.

    Raises:
        NotFound: There is none.
    """
    key = keys.alias_key(name, check_alias(alias))
    try:
        await remote.stat(key)
    except NotFound:
        raise NotFound(
            f"model '{name}' has no alias '{alias}' on {remote.properties.url}", hint=f"bentosync alias list {name}"
        ) from None
    await remote.delete(key)


async def read_all(remote: Remote, name: str | None, *, jobs: int) -> list[Alias]:
    """The aliases of model `name`, or of all models, sorted."""
    found: list[Alias] = []

    async def look(name: str, alias: str) -> None:
        try:
            named = await pointer.read_alias(remote, name, alias)
        except UnsafeInput:
            found.append(Alias(name, alias, None))
            return
        if named is not None:
            found.append(Alias(name, alias, named))

    prefix = keys.MODELS if name is None else keys.aliases_prefix(name)
    listed = [keys.parse_alias(stat.key) async for stat in remote.list(prefix)]
    await engine.drain([lambda pair=pair: look(*pair) for pair in listed if pair is not None], workers=jobs)  # type: ignore[misc]
    return sorted(found, key=lambda each: (each.name, each.alias))


async def refuse_if_named(remote: Remote, tag: Tag, *, jobs: int) -> None:
    """Raises `Conflict` if an alias names the version."""
    aliases = await read_all(remote, tag.name, jobs=jobs)
    if named := [each.alias for each in aliases if each.pointer is not None and each.pointer.version == tag.version]:
        raise Conflict(
            f"{tag} on {remote.properties.url} is what {', '.join(f'{tag.name}@{alias}' for alias in named)} names",
            hint=f"first bentosync alias set {tag.name}:OTHER {named[0]}, or bentosync alias remove {tag.name} "
            f"{named[0]}",
        )
