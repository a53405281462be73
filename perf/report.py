"""Tables from JSON lines: medians with their range, and the median of the ratios taken within rounds. Pure.

python -m perf.report results.jsonl
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

OURS = "bentosync"
Row = dict[str, Any]

_GROUP = ("bench", "way", "scheme", "durable")


def read(paths: Iterable[Path]) -> list[Row]:
    """All rows of some files."""
    return [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines() if line]


def groups(rows: Sequence[Row]) -> dict[tuple[Any, ...], dict[str, list[Row]]]:
    """Runs by what was done and by arm."""
    found: dict[tuple[Any, ...], dict[str, list[Row]]] = {}
    for row in rows:
        if "seconds" in row:
            found.setdefault(tuple(row[name] for name in _GROUP), {}).setdefault(row["arm"], []).append(row)
    return found


def cpu(row: Row) -> float:
    """CPU seconds of the client for each GiB."""
    return float((row["user_seconds"] + row["sys_seconds"]) / row["bytes"] * (1 << 30))


def rate(row: Row) -> float:
    """GB/s of the whole process, from its start to its end."""
    return float(row["bytes"] / row["seconds"] / 1e9)


def files_rate(row: Row) -> float:
    """Files a second."""
    return float(row["files"] / row["seconds"])


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median (min-max)."""
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"  # noqa: RUF001


def paired(ours: Sequence[Row], theirs: Sequence[Row], measure: Any) -> list[float]:
    """ours / theirs within each round that both finished."""
    by_round = {row["round"]: row for row in theirs}
    return [measure(row) / measure(by_round[row["round"]]) for row in ours if row["round"] in by_round]


def table(rows: Sequence[Row]) -> str:
    """Markdown: one table for each kind of run, cheapest arm first."""
    lines: list[str] = []
    for row in rows:
        if "machine" in row:
            lines += [_machine(row), ""]
    for group, arms in groups(rows).items():
        lines += [*_one_table(group, arms), ""]
    for row in rows:
        if "failed" in row:
            reason = " ".join(row["failed"].split())[-160:]
            lines.append(f"- {row['arm']} failed ({row['way']}, {row['scheme']}): {reason}")
    return "\n".join(lines)


def _machine(row: Row) -> str:
    facts = row["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts.get("versions", {}).items())
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, Linux {facts['kernel']}, "
        f"{facts.get('file_system', '')}, Python {facts['python']}, {facts['openssl']}, commit {facts['commit']}, "
        f"load {facts['load_at_start']} at the start, {facts['at']}. {versions}."
        + (f" Not installed: {', '.join(facts['missing'])}." if facts.get("missing") else "")
    )


def _one_table(group: tuple[Any, ...], arms: dict[str, list[Row]]) -> list[str]:
    bench, way, scheme, durable = group
    small = bench == "small"
    speed, unit = (files_rate, "files/s") if small else (rate, "GB/s")
    ours = arms.get(OURS, [])
    title = f"{bench}: {way}, {scheme}" + (", bytes durable" if durable else ", peers not synced") * (way == "pull")
    lines = [
        f"### {title}, {max(len(runs) for runs in arms.values())} rounds",
        "",
        f"| who | {unit} | CPU-s/GiB | user / sys s | peak RSS MiB | server CPU s | ours ÷ theirs, CPU "
        f"| ours ÷ theirs, {unit} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in sorted(arms.items(), key=lambda item: statistics.median(cpu(row) for row in item[1])):
        versus = ["", ""] if name == OURS else [spread(paired(ours, runs, cpu)), spread(paired(ours, runs, speed))]
        cells = [
            f"**{name}**" if name.startswith(OURS) else name,
            spread([speed(row) for row in runs], 0 if small else 2),
            spread([cpu(row) for row in runs]),
            f"{_median(runs, 'user_seconds'):.2f} / {_median(runs, 'sys_seconds'):.2f}",
            f"{_median(runs, 'rss_bytes') / (1 << 20):.0f}",
            f"{_median(runs, 'server_cpu_seconds'):.2f}",
            *versus,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _median(runs: Sequence[Row], name: str) -> float:
    return float(statistics.median(row[name] for row in runs))


def show(description: str | None, table: Callable[[Sequence[Row]], str]) -> None:
    """The command line of a script that is asked for a table of files."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    print(table(read(parser.parse_args().results)))


if __name__ == "__main__":
    show(__doc__, table)
