"""The goals of a cold start held against `bench_coldstart`'s lines, one row a goal. Pure.

Ratios are taken within rounds; a goal is met when the median over the rounds meets it. A machine that is slower than
a line cannot meet the goals of that line.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from perf.report import spread

Row = dict[str, Any]
OURS = "bentosync streamed"
NO_CACHE = "bentosync streamed, no cache"
PULL = "bentosync pull, then load"
COPY = "s5cmd, then load_file"
RUNAI = "runai streamer"
CONNECTING = 2
"""Round trips that connecting takes: once for the manifest, once for the ranges, which come over many connections."""

_MIB = 1 << 20


@dataclass(frozen=True)
class Goal:
    """`values`, one a round, must not be above `limit` by their median."""

    what: str
    limit: float
    values: Sequence[float]

    @property
    def met(self) -> bool | None:
        """None: not measured."""
        return statistics.median(self.values) <= self.limit if self.values else None


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    return printed(list(goals(rows)))


def printed(held: Sequence[Goal]) -> str:
    """Markdown: a row a goal."""
    lines = ["| goal | at most | median (range) | rounds | |", "|---|---|---|---|---|"]
    words = {True: "met", False: "missed", None: "not measured"}
    for goal in held:
        cells = [goal.what, f"{goal.limit:.3g}", spread(goal.values), str(len(goal.values)), words[goal.met]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def goals(rows: Sequence[Row]) -> Iterator[Goal]:
    """Every goal that the CPU can say something about."""
    runs = [row for row in rows if "seconds" in row and "case" not in row]
    for rate in sorted({row["rate_gb"] for row in runs if row["rate_gb"]}):
        here = [row for row in runs if row["rate_gb"] == rate]
        floors = [
            row["seconds"] / (1.05 * row["bytes"] / rate / 1e9 + 3 * row["round_trip"] + 0.3)
            for row in here
            if row["arm"] == OURS
        ]
        yield Goal(f"{rate:g} GB/s: seconds ÷ (1.05 * bytes / bandwidth + 3 exchanges + 0.3 s)", 1.0, floors)
        yield Goal(f"{rate:g} GB/s: seconds ÷ pull, then load", 1.0, _ratios(here, PULL, "seconds"))
        yield Goal(f"{rate:g} GB/s: seconds ÷ s5cmd, then load_file", 1.0, _ratios(here, COPY, "seconds"))
        yield Goal(f"{rate:g} GB/s: seconds ÷ without a cache", 1.05, _ratios(here, NO_CACHE, "seconds"))
    free = [row for row in runs if not row["rate_gb"]]
    yield Goal("unshaped: CPU ÷ Run:ai", 0.40, _ratios(free, RUNAI, "cpu_seconds"))
    yield Goal("unshaped: seconds ÷ Run:ai", 0.60, _ratios(free, RUNAI, "seconds"))
    yield Goal("unshaped: seconds ÷ pull, then load", 1.0, _ratios(free, PULL, "seconds"))
    yield Goal("unshaped: CPU ÷ pull, then load", 1.0, _ratios(free, PULL, "cpu_seconds"))
    yield Goal("unshaped: seconds ÷ s5cmd, then load_file", 1.0, _ratios(free, COPY, "seconds"))
    yield Goal("unshaped: seconds ÷ without a cache", 1.05, _ratios(free, NO_CACHE, "seconds"))
    for arm in (OURS, NO_CACHE):
        peaks = [row["peak_bytes_beyond_tensors"] / _MIB for row in rows if row.get("arm") == arm and "watched" in row]
        yield Goal(f"{arm}: MiB of memory beyond ring, page cache and tensors", 200, peaks)
    yield from _cases([row for row in rows if "case" in row])


def _cases(rows: Sequence[Row]) -> Iterator[Goal]:
    second, local = _named(rows, "bentosync second start"), _named(rows, "bentosync local folder")
    yield Goal("second start: seconds ÷ the same files as a folder", 1.1, _paired(second, local, "seconds"))
    yield Goal("second start: bytes from the network", 0, [row["server_bytes"] for row in second])
    one, four = _named(rows, "1 at once"), _named(rows, "4 at once")
    yield Goal("four processes: seconds of the last ÷ one alone", 1.3, _paired(four, one, "seconds"))
    yield Goal("four processes: bytes ÷ the model", 1.05, [row["server_bytes"] / row["bytes"] for row in four])
    rows_of = _named(rows, "bentosync rows")
    fetched = [row["server_bytes"] / row["tensor_bytes"] for row in rows_of]
    yield Goal("an eighth of every matrix: bytes ÷ asked for", 1.3, fetched)
    for arm, limit in (("bentosync first tensor", 2), ("bentosync first tensor by name", 3)):
        counts = [row["round_trips"] - CONNECTING for row in _named(rows, arm)]
        yield Goal(f"{arm}, 16 shards: round trips but for connecting, and its own bytes", limit + 0.5, counts)


def _named(rows: Sequence[Row], arm: str) -> list[Row]:
    return [row for row in rows if row["arm"] == arm and "failed" not in row]


def _ratios(rows: Sequence[Row], arm: str, name: str) -> list[float]:
    return _paired(_named(rows, OURS), _named(rows, arm), name)


def _paired(ours: Sequence[Row], theirs: Sequence[Row], name: str) -> list[float]:
    by_round = {row["round"]: row for row in theirs}
    return [row[name] / by_round[row["round"]][name] for row in ours if row["round"] in by_round]
