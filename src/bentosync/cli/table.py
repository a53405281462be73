"""Tables on stdout: columns as wide as their content, two spaces between, nothing ever cut or wrapped.

A tag that a pipe or a narrow terminal truncates is a tag that cannot be copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest


def lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The table as lines without trailing blanks; the header comes first."""
    columns = zip_longest(header, *rows, fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
