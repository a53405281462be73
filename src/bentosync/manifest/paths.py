"""Which paths a version may contain: those that mean the same file on every system, in every URL and in every bucket.

The rules are the same for writers and readers, and a path that breaks one is refused, never repaired: a repaired
path is another path. They are checked on the text alone, before anything touches a disk or a network.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise, zip_longest
from typing import NoReturn
from urllib.parse import unquote

from bentosync.errors import UnsafeInput

PATH_BYTES_MAX = 1024
COMPONENT_BYTES_MAX = 255

# Characters that some file system refuses or some shell, log or terminal obeys: Windows' reserved ones, C0 and C1
# controls, line and paragraph separators, byte order mark, and the marks that reorder text on screen.
_FORBIDDEN = re.compile(
    '[\\\\:<>"|?*\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]'
)
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\..*)?", re.IGNORECASE)


def check(path: str) -> None:
    """Refuse a path that is not portable.

    Raises:
        UnsafeInput: It breaks a rule of docs/formats/manifest.md; the message names the rule.
    """
    fault = _fault(path)
    if fault is not None:
        raise UnsafeInput(f"path {path[:200]!a} {fault}", hint="rename the file and create the model again")


def check_all(files: Iterable[str], directories: Iterable[str]) -> None:
    """Refuse a set of paths that is not one portable tree: bad, equal or colliding paths, files used as folders.

    `directories` are folders without entries. Order does not matter here.

    Raises:
        UnsafeInput: The message names the path, and the one it collides with.
    """
    everything = [*files, *directories]
    for path in everything:
        check(path)
    # With the separator below every other character, paths that share a folder lie side by side. So do those that
    # would share one on a careless file system: if any two of them clash, then two neighbours do.
    everything.sort(key=lambda path: folded(path).replace("/", "\0"))
    described = [(path, path.rpartition("/")[0], folded(path)) for path in everything]
    for (first, folder, name), (second, other_folder, other_name) in pairwise(described):
        if folder != other_folder or name == other_name:
            _check_neighbours(first, second)


def folded(path: str) -> str:
    """The path as a file system sees it that ignores case and Unicode form (Unicode's canonical caseless match)."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def _check_neighbours(first: str, second: str) -> None:
    """Refuse two paths that differ for us first where they do not for a careless file system, or where one ends."""
    for one, other in zip_longest(first.split("/"), second.split("/")):
        if one is None or other is None:
            _clash(second, f"lies below {first[:200]!a}, which is a file or an empty directory")
        elif folded(one) != folded(other):
            return
        elif one != other:
            _clash(second, f"collides with {first[:200]!a}")
    _clash(second, "appears twice")


def _clash(path: str, how: str) -> NoReturn:
    raise UnsafeInput(f"path {path[:200]!a} {how}", hint="names must differ by more than case or Unicode form")


def _fault(path: str) -> str | None:
    if not path:
        return "is empty"
    forbidden = _FORBIDDEN.search(path)
    if forbidden is not None:
        return f"holds the character {forbidden[0]!a}"
    if _bytes(path) > PATH_BYTES_MAX:
        return f"is longer than {PATH_BYTES_MAX} bytes"
    for component in path.split("/"):
        fault = _component_fault(component)
        if fault is not None:
            return fault
    return None


def _component_fault(component: str) -> str | None:
    if not component:
        return "is absolute, ends with a slash or has an empty component"
    if component in (".", ".."):
        return f"has the component {component!r}"
    if _bytes(component) > COMPONENT_BYTES_MAX:
        return f"has a component longer than {COMPONENT_BYTES_MAX} bytes"
    if component[-1] in ". ":
        return "has a component that ends with a dot or a space"
    if _DEVICE.fullmatch(component):
        return f"has the component {component!a}, a device name on Windows"
    if "%" in component and _decodes_to_dots(component):
        return f"has the component {component!a}, which percent-decodes to a dot component"
    return None


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _decodes_to_dots(component: str) -> bool:
    while "%" in component:
        decoded = unquote(component)
        if decoded == component:
            break
        component = decoded
    return any(part in (".", "..") for part in re.split(r"[/\\]", component))
