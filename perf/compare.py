"""Did it get better? A baseline's JSON lines against new ones, arm by arm.

Absolute numbers of two runs differ by what else the machine did, so the second table compares ours with each rival,
within rounds, then and now: that ratio survives a change of weather, and mostly one of machine.

    python -m perf.compare perf/results/pull.jsonl new.jsonl
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from perf.report import OURS, Row, cpu, groups, paired, rate, read

# Ranges that touch prove nothing, and neither does less than this on a machine that others use too.
_NOTABLE = 0.10


def verdict(before: Sequence[float], after: Sequence[float]) -> str:
    """One word for a measure where less is better."""
    change = statistics.median(after) / statistics.median(before) - 1
    apart = min(after) > max(before) or max(after) < min(before)
    if abs(change) < _NOTABLE or not apart:
        return "same"
    return "worse" if change > 0 else "better"


def compare(before: Sequence[Row], after: Sequence[Row]) -> str:
    """Markdown: every arm that both have, then ours against each rival."""
    old, new = groups(before), groups(after)
    lines = [f"- then: {_commit(before)}", f"- now: {_commit(after)}", ""]
    lines += ["| what | who | CPU-s/GiB then | now | | GB/s then | now | |", "|---|---|---|---|---|---|---|---|"]
    for group in [group for group in old if group in new]:
        for arm in [arm for arm in old[group] if arm in new[group]]:
            cells = [
                *_cells(old[group][arm], new[group][arm], cpu),
                *_cells(old[group][arm], new[group][arm], rate, -1),
            ]
            lines.append(f"| {_title(group)} | {arm} | {' | '.join(cells)} |")
    lines += ["", "| what | ours ÷ | CPU then | now | |", "|---|---|---|---|---|"]
    for group in [group for group in old if group in new and OURS in old[group] and OURS in new[group]]:
        for arm in [arm for arm in old[group] if arm in new[group] and arm != OURS]:
            ratios = [paired(found[group][OURS], found[group][arm], cpu) for found in (old, new)]
            if all(ratios):
                cells = [*(f"{statistics.median(values):.2f}" for values in ratios), verdict(*ratios)]
                lines.append(f"| {_title(group)} | {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(old: Sequence[Row], new: Sequence[Row], measure: Callable[[Row], float], sign: int = 1) -> list[str]:
    before, after = [measure(row) for row in old], [measure(row) for row in new]
    word = verdict([value**sign for value in before], [value**sign for value in after])
    return [f"{statistics.median(before):.2f}", f"{statistics.median(after):.2f}", word]


def _title(group: Sequence[object]) -> str:
    bench, way, scheme, durable = group
    return f"{bench} {way} {scheme}{' durable' if durable else ''}"


def _commit(rows: Sequence[Row]) -> str:
    return ", ".join(f"{r['machine']['commit']} on {r['machine']['cpu']}" for r in rows if "machine" in r)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("baseline", type=Path)
    parser.add_argument("new", type=Path)
    arguments = parser.parse_args()
    print(compare(read([arguments.baseline]), read([arguments.new])))


if __name__ == "__main__":
    main()
