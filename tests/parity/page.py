"""docs/compatibility.md from behaviours.toml: `python -m tests.parity.page` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.parity.behaviours import ELSEWHERE, SECTIONS

PATH = Path(__file__).parents[2] / "docs/compatibility.md"

HEAD = """\
# Compatibility with BentoML

<!-- made by python -m tests.parity.page; do not edit -->

bentosync works on the folder that BentoML uses (`$BENTOML_HOME/models`), at the same time as BentoML. The reference is
BentoML 1.4.39 (the store of 1.4.40 is the same code). `tests/parity` asks the real one and bentosync the same {asked}
questions on equal stores and compares values, messages, exception types, exit statuses and every file that is left
behind, `model.yaml` byte for byte: {equal} answers are equal, {different} differ on purpose and are listed below, and
any other difference fails the test, as does a listed one that is gone.

What BentoML's documentation shows runs with only the import changed: `tests/integrations/test_documentation.py`.
"""

TAIL = """
## The same on purpose

- `delete("m")` removes every version; `delete` takes no prefixes; `delete("m:latest")` without a pointer does nothing.
- `list("m:latest")` is empty: only `get` and `delete` resolve `latest`.
- `latest` names the version with the greatest creation time, so adding an older version does not move it.
- `custom_objects` is a pickle and runs code when the attribute is read, and only then. Read it for models you trust.
- `==` of models compares tags.

Exceptions may belong to more families than BentoML's, never to fewer: an `InvalidTag` is a `BentoMLException` and a
`ValueError`, where BentoML raises one for half of all bad tags and the other for the other half.

## Not there yet

| | comes with |
|---|---|
| BentoCloud | a later release |

## What remains a race

BentoML takes no locks and writes in place. While it copies a version into the store, a reader may see a part of it;
ours reports it as damaged or skips it, and never deletes it. If BentoML and bentosync change `latest` of one model in
the same instant, the last one wins; the next `create` or `delete` sets it right.
"""


def text() -> str:
    """The whole page."""
    return "\n".join(lines())


def lines() -> Iterator[str]:
    every = [each for behaviours in SECTIONS.values() for each in behaviours]
    different = sum(each.differs for each in every)
    yield HEAD.format(asked=len(every), equal=len(every) - different, different=different)
    for section, behaviours in SECTIONS.items():
        yield from (f"## {section}", "")
        yield "Equal: " + "; ".join(_cell(each.what) for each in behaviours if not each.differs) + "."
        yield ""
        rows = [each for each in behaviours if each.differs]
        if rows:
            yield from ("| BentoML 1.4.39 | bentosync | why |", "|---|---|---|")
            yield from (f"| {_cell(each.theirs)} | {_cell(each.ours)} | {_cell(each.why)} |" for each in rows)
            yield ""
    yield from ("## Differences that other tests show", "")
    yield from ("| BentoML 1.4.39 | bentosync | why | shown by |", "|---|---|---|---|")
    for each in ELSEWHERE:
        yield f"| {_cell(each.theirs)} | {_cell(each.ours)} | {_cell(each.why)} | `{each.test}` |"
    yield TAIL


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


if __name__ == "__main__":
    PATH.write_text(text())
