"""Tables of the rows that are no races: what `bench_nothing`, `bench_memory`, `exp_control` and others print.

One table for each kind of row, a column for each field; what all rows of a file have in common, such as the machine, is
said once.

    python -m perf.rows results.jsonl...
"""

from __future__ import annotations

from collections.abc import Sequence

from perf.report import Row, show

_MACHINE = ("cpu", "cores", "memory_gib", "kernel", "python", "openssl", "commit", "load_at_start", "at")


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines: list[str] = []
    for kind in dict.fromkeys(row.get("bench", "") for row in rows):
        alike = [row for row in rows if row.get("bench", "") == kind]
        lines += [f"### {kind}", "", *_facts(alike), *_columns(alike), ""]
    return "\n".join(lines)


def _facts(rows: Sequence[Row]) -> list[str]:
    found = []
    for name in _MACHINE:
        values = list(dict.fromkeys(str(row[name]) for row in rows if name in row))
        if values:
            found.append(f"{name} {values[0]}" + (f"–{values[-1]}" if len(values) > 1 else ""))  # noqa: RUF001
    return [", ".join(found) + ".", ""] if found else []


def _columns(rows: Sequence[Row]) -> list[str]:
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in (*_MACHINE, "bench")]
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in names)} |", "|---" * len(names) + "|"]
    return [*lines, *(f"| {' | '.join(_cell(row.get(name)) for name in names)} |" for row in rows)]


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case [middle, least, most] if all(isinstance(one, int | float) for one in value):
            return f"{middle:g} ({least:g}–{most:g})"  # noqa: RUF001
        case dict():
            return ", ".join(f"{name}: {_cell(one)}" for name, one in value.items())
        case list():
            return ", ".join(map(str, value))
        case float():
            return f"{value:g}"
        case int() if value >= 1 << 30:
            return f"{value / (1 << 30):.2f} Gi"
        case _:
            return str(value)


if __name__ == "__main__":
    show(__doc__, table)
