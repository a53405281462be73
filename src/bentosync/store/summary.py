"""What a list shows of a version, read fast: 1,000 models in well under a tenth of a second.

Building a whole model.yaml costs 0.15 ms and the YAML library 30 ms to import. What a list shows is five lines in
known places of a document that BentoML (or we) wrote, so a regular expression takes them; it only knows scalars that
YAML cannot read in another way, and any other document goes through the real parser. Nothing is cached, so nothing
can be stale.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

from msgspec import Struct, field

from bentosync.formats import model_yaml
from bentosync.store import tree
from bentosync.store.model import Model
from bentosync.tag import Tag

_HEAD_BYTES = 1 << 16

# A word that YAML 1.1 reads as itself: not true, no, null, …, and no number or date, which never hold these letters.
_WORD = (
    r"(?!(?i:y|yes|n|no|true|false|on|off|null)(?:$|:))"
    r"(?=[a-zA-Z]|\d[\w.+-]*[g-wyzG-WYZ])\w(?:[\w./+-]| (?=[\w./+-]))*"
)
_DOTTED = r"\d+(?:\.\d+){2,}"
_SCALAR = rf"(?:{_WORD}|{_DOTTED}|'[^'\n]*')"
_LINES = (
    rf"name: ({_SCALAR})$\n"
    rf"version: ({_SCALAR})$\n"
    rf"module: ({_SCALAR})$\n"
    rf"labels:(?: \{{\}}\n|\n((?:  {_SCALAR}: {_SCALAR}$\n)+))"
    r"options:.*\n(?:[ -].*\n)*"
    r"metadata:.*\n(?:[ -].*\n)*"
    r"context:\n(?: .*\n)+"
    r"signatures:.*\n(?: .*\n)*"
    rf"api_version: {_SCALAR}$\n"
    r"creation_time: '([0-9T:.+-]{19,40})'\n"
)
_LABEL = rf"  ({_SCALAR}): ({_SCALAR})\n"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # On first use: the two take 2 ms, and a pull that imports this shows no list.
    return re.compile(pattern, re.MULTILINE | re.ASCII)


class Summary(Struct, frozen=True):
    """One line of a list."""

    tag: Tag
    module: str
    size_bytes: int
    creation_time: datetime
    labels: Mapping[str, str] = field(default_factory=dict)


def summarize(root: str) -> Summary:
    """The summary of the version in `root`.

    Raises:
        BentoMLException: It has no model.yaml, or one that says nothing useful.
    """
    return _taken(root, _head(root)) or _parsed(root)


def _head(root: str) -> bytes:
    try:
        fd = os.open(f"{root}/{model_yaml.FILE_NAME}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, _HEAD_BYTES)
    finally:
        os.close(fd)


def _parsed(root: str) -> Summary:
    info = Model.from_path(root).info
    return Summary(info.tag, info.module, tree.size(root), info.creation_time, info.labels)


def _taken(root: str, data: bytes) -> Summary | None:
    if len(data) == _HEAD_BYTES or not data.isascii():
        return None
    found = _compiled(_LINES).fullmatch(data.decode("ascii"))
    if found is None:
        return None
    name, version, module, labels, created = found.groups()
    try:
        time = datetime.fromisoformat(created)
        tag = Tag(_value(name), _value(version))
    except ValueError:
        return None
    return Summary(
        tag=tag,
        module=_value(module),
        size_bytes=tree.size(root),
        creation_time=time if time.tzinfo is not None else time.replace(tzinfo=UTC),
        labels={_value(key): _value(value) for key, value in _compiled(_LABEL).findall(labels or "")},
    )


def _value(scalar: str) -> str:
    return scalar.strip("'")
