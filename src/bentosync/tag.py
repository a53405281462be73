"""Tags name versions (`name:version`), references name them for a command (`name[:version][@b3:…]`, `name@alias`).

Name and version share one grammar: 1 to 63 characters of `a-z 0-9 - _ .`, the first and the last alphanumeric. It
makes both safe as folder names and as parts of keys, so nothing below this module escapes them. Grammar, automatic
versions and messages are BentoML's; differences are listed in docs/compatibility.md.
"""

from __future__ import annotations

import base64
import logging
import re
from functools import total_ordering

from msgspec import Struct

from bentosync.errors import InvalidTag

LENGTH_MAX = 63
LATEST = "latest"

_GRAMMAR = re.compile(r"[a-z0-9](?:[-._a-z0-9]*[a-z0-9])?")
_PIN = re.compile(r"b3:[0-9a-f]{64}")
_logger = logging.getLogger("bentosync")


@total_ordering
class Tag:
    """A model's name, and a version unless it means the name as such.

    Mutable and ordered by name, then version (none first), as BentoML's. Upper case is lowered with a warning.

    Raises:
        InvalidTag: Name or version is outside the grammar.
    """

    __slots__ = ("name", "version")

    name: str
    version: str | None

    def __init__(self, name: str, version: str | None = None) -> None:
        self.name = _checked(name)
        self.version = None if version is None else _checked(version)

    @classmethod
    def from_str(cls, text: str) -> Tag:
        """Parse `name` or `name:version`.

        Raises:
            InvalidTag: With BentoML's message for the case.
        """
        if "@" in text:
            raise InvalidTag(
                f"Invalid Tag {text}", hint="a pin (@b3:…) or an alias (@prod) is for pull and load; leave it out here"
            )
        name, colon, version = text.partition(":")
        if not colon:
            return cls(name)
        if not version:
            raise InvalidTag(
                f"{text} contains trailing ':'. Maybe you meant to use `{text}:latest`?",
                hint=f"write {name} or {name}:{LATEST}",
            )
        try:
            return cls(name, version)
        except InvalidTag as error:
            raise InvalidTag(f"Invalid Tag {text}", hint=error.message) from None

    @classmethod
    def from_taglike(cls, taglike: object) -> Tag:
        """A tag as it is, a string parsed; anything else with a name and a version (BentoML's own `Tag`) by these."""
        if isinstance(taglike, Tag):
            return taglike
        if isinstance(taglike, str):
            return cls.from_str(taglike)
        if hasattr(taglike, "name") and hasattr(taglike, "version"):
            return cls(taglike.name, taglike.version)
        raise InvalidTag(f"a tag is a string like 'name:version', not {type(taglike).__name__}")

    def make_new_version(self) -> Tag:
        """The same name with a new random version: 16 characters of base32, as BentoML makes them."""
        if self.version is not None:
            raise InvalidTag("tried to run 'make_new_version' on a Tag that already has a version")
        import uuid

        # The time's high bits and the host are left out: the same six plus four bytes that BentoML takes.
        unique = uuid.uuid1().bytes
        return Tag(self.name, base64.b32encode(unique[:6] + unique[8:12]).decode("ascii").lower())

    def path(self) -> str:
        """Where the version lies below the store's `models` folder."""
        return self.name if self.version is None else f"{self.name}/{self.version}"

    def latest_path(self) -> str:
        """Where the pointer to the latest version lies below the store's `models` folder."""
        return f"{self.name}/{LATEST}"

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}:{self.version}"

    def __repr__(self) -> str:
        return f"Tag(name={self.name!r}, version={self.version!r})"

    def __eq__(self, other: object) -> bool:
        return (self.name, self.version) == (other.name, other.version) if isinstance(other, Tag) else NotImplemented

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Tag):
            return NotImplemented
        return (self.name, self.version or "") < (other.name, other.version or "")

    def __hash__(self) -> int:
        return hash((self.name, self.version))


class Reference(Struct, frozen=True):
    """What a command was asked for.

    `version` None means what `alias` names, without an alias the latest; `pin` is `b3:` and 64 hexadecimal digits.
    """

    name: str
    version: str | None = None
    pin: str | None = None
    alias: str | None = None

    @property
    def tag(self) -> Tag:
        """The reference without its pin."""
        return Tag(self.name, self.version)

    def __str__(self) -> str:
        return "@".join(word for word in (str(self.tag), self.alias, self.pin) if word is not None)


def parse_reference(text: str | Tag) -> Reference:
    """Parse `name[:version][@b3:<64 hexadecimal digits>]` or `name@alias[@b3:…]`; version `latest` is the same as none.

    Raises:
        InvalidTag: The tag or the alias is outside the grammar, or the pin is not a BLAKE3 digest.
    """
    pin: str | None = None
    alias: str | None = None
    if isinstance(text, str):
        text, *words = text.split("@")
        # No alias has a colon, and every pin has one.
        if words and ":" in words[-1]:
            pin = _checked_pin(words.pop())
        if words:
            alias = check_alias("@".join(words))
    tag = Tag.from_taglike(text)
    if alias is not None and tag.version is not None:
        raise InvalidTag(f"Invalid Tag {text}@{alias}", hint=f"an alias says the version: {tag.name}@{alias}")
    return Reference(tag.name, None if tag.version == LATEST else tag.version, pin, alias)


def check_alias(text: str) -> str:
    """The name of an alias, as it is.

    Raises:
        InvalidTag: It is outside the tag grammar, or `latest`, which always names the newest version.
    """
    if not _GRAMMAR.fullmatch(text) or len(text) > LENGTH_MAX or text == LATEST:
        raise InvalidTag(
            f"{text[:100]!r} is no alias",
            hint=f"1 to {LENGTH_MAX} characters of a-z 0-9 - _ . that begin and end with a letter or digit, not "
            f"'{LATEST}'; a pin is 'b3:' and 64 hexadecimal digits",
        )
    return text


def _checked_pin(text: str) -> str:
    if not _PIN.fullmatch(text):
        raise InvalidTag(
            f"{text[:100]!r} is not a pin",
            hint="a pin is 'b3:' and 64 lower-case hexadecimal digits, as `bentosync get --json` prints it",
        )
    return text


def _checked(text: str) -> str:
    if not isinstance(text, str):
        raise InvalidTag(f"{text!r} is not a valid BentoML tag: name and version are strings")
    lowered = text.lower()
    if lowered != text:
        _logger.warning("Converting '%s' to lowercase: '%s'.", text, lowered)
    faults = []
    if len(lowered) > LENGTH_MAX:
        faults.append(f"a tag's name or version must be at most {LENGTH_MAX} characters in length")
    if not _GRAMMAR.fullmatch(lowered):
        faults.append(
            "a tag's name or version must consist of lowercase alphanumeric characters, '_', '-', or '.', "
            "and must start and end with an alphanumeric character"
        )
    if faults:
        raise InvalidTag(f"{lowered} is not a valid BentoML tag: " + ", and ".join(faults))
    return lowered
