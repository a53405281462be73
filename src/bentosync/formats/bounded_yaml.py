"""YAML of unknown origin, read without risk: bounded in bytes, depth, nodes and what aliases expand to.

libyaml overflows the C stack on deep nesting, and aliases and merge keys make small documents huge. So a first pass
over the parser's events (0.04 ms for a model.yaml) counts all of that before anything is built.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

DEPTH_MAX = 100
NODES_MAX = 100_000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# YAML 1.1 reads 1:2:3 as a number to base 60, in time quadratic in its length.
_LONG_NUMBER = re.compile(r"[-+0-9_:.]{300,}")


def dump(values: dict[str, Any]) -> bytes:
    """The document, in the order of the keys, ASCII.

    Raises:
        ValueError: A value has no YAML form.
    """
    try:
        # The pure-Python dumper, which is BentoML's: libyaml's folds long lines in other places.
        return str(yaml.safe_dump(values, sort_keys=False)).encode("ascii")
    except yaml.representer.RepresenterError as error:
        raise ValueError(f"{error.args[0]}: {error.args[-1]!r:.200}") from error


def load(data: bytes, *, bytes_max: int) -> Any:
    """The document as plain Python values.

    Raises:
        ValueError: It is not valid YAML, or over one of the bounds; the message is one line.
    """
    if len(data) > bytes_max:
        raise ValueError(f"{len(data)} bytes, over {bytes_max}")
    try:
        text = data.decode("utf-8")
        _bound(text)
        return yaml.load(text, Loader=_BoundedLoader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ValueError(str(error).partition("\n")[0][:300]) from error


def _bound(text: str) -> None:
    nodes = 0
    begun: list[tuple[str | None, int]] = []
    sizes: dict[str, int] = {}
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"alias {event.anchor!r} stands for nothing, or for itself")
            nodes += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
            if event.implicit[0] and _LONG_NUMBER.fullmatch(event.value):
                raise ValueError("a number of more than 300 digits")
        elif isinstance(event, yaml.CollectionStartEvent):
            begun.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = begun.pop()
            if anchor is not None:
                sizes[anchor] = nodes - before
        if len(begun) > DEPTH_MAX:
            raise ValueError(f"nested deeper than {DEPTH_MAX}")
        if nodes > NODES_MAX:
            raise ValueError(f"more than {NODES_MAX} values, aliases expanded")


class _BoundedLoader(_Loader):  # type: ignore[misc]
    """Without merge keys, which copy mappings into each other: the one way left to grow a document."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse `<<`."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise ValueError("merge keys are not allowed")
