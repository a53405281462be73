"""A page of the documentation as a list of blocks to be run, in the order of the page.

A block is a fence of the language `python`, `bash` or `console`. An HTML comment right above it says what else is to be
done with it, so that readers never see it:

    <!-- file: service.py -->            the block is the text of that file; any language will do
    <!-- not run: needs a GPU -->        and that is why
    <!-- exits: 6 -->                    a bash block whose last command has this status

In a `console` block the lines that begin with `$ ` are commands, the others what they print; `…` stands for anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
RUN = ("python", "bash", "console")

_BLOCK = re.compile(
    r"^(?:<!-- (?P<verb>file|not run|exits): (?P<what>.*?) -->\n)?```(?P<language>[^\n`]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


_TAB = re.compile(r"^(?::::\{tab-item\} (?P<name>\w+)|:::)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fence. `line` is where its text begins, counted from 1; `tab` is the one it stands in, if any."""

    language: str
    text: str
    line: int
    verb: str = ""
    what: str = ""
    tab: str = ""

    @property
    def is_run(self) -> bool:
        """Whether the player does anything with it."""
        return self.verb == "file" or (self.language in RUN and self.verb != "not run")


def blocks(page: Path) -> list[Block]:
    """Every fence of the page."""
    text = page.read_text("utf-8")
    return [
        Block(
            found["language"],
            found["text"],
            text.count("\n", 0, found.start("text")) + 1,
            found["verb"] or "",
            found["what"] or "",
            _tab(text, found.start()),
        )
        for found in _BLOCK.finditer(text)
    ]


def _tab(text: str, position: int) -> str:
    before = [found["name"] or "" for found in _TAB.finditer(text, 0, position)]
    return before[-1] if before else ""
