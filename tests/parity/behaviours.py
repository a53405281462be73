"""The questions of behaviours.toml, as values."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

TABLES = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Behaviour:
    """One question. `what` says what is equal; else `theirs`, `ours` and `why` say what is not."""

    ask: str
    what: str = ""
    theirs: str = ""
    ours: str = ""
    why: str = ""

    @property
    def differs(self) -> bool:
        return not self.what


@dataclass(frozen=True)
class Elsewhere:
    """A difference that one question cannot show, and the test that does."""

    theirs: str
    ours: str
    why: str
    test: str


_DOCUMENT = tomllib.loads(TABLES.read_text())

SECTIONS = {name: [Behaviour(**each) for each in rows] for name, rows in _DOCUMENT["section"].items()}
ELSEWHERE = [Elsewhere(**each) for each in _DOCUMENT["elsewhere"]]
