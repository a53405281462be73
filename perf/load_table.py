"""The table and the picture of `bench_load`'s lines. Pure.

python -m perf.load_table results.jsonl [--chart results.svg]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perf.report import read, spread

Row = dict[str, Any]


def table(rows: Sequence[Row], machine: Row) -> str:
    """Markdown: one table for each checkpoint, fastest first."""
    missing = f" Not installed: {', '.join(machine['missing'])}." if machine.get("missing") else ""
    gpu = f", {machine['gpu']}, H2D {machine['h2d_gb_per_s']:.1f} GB/s" if "gpu" in machine else ""
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores{gpu}, Linux {machine['kernel']}, {machine['file_system']}, torch "
        f"{machine['torch']}, commit {machine['commit']}, load {machine['load_at_start']} at the start. "
        f"{', '.join(machine['versions'])}.{missing}"
    ]
    timed = [row for row in rows if row.get("kind") == "timed" and "seconds" in row]
    peaks = {key(row): row for row in rows if row.get("kind") == "watched" and "seconds" in row}
    for name in dict.fromkeys(row["set"] for row in timed):
        lines += ["", *_one(name, [row for row in timed if row["set"] == name], peaks)]
        lines += _swept([row for row in rows if (row.get("kind"), row.get("set")) == ("sweep", name)])
    for row in rows:
        if "failed" in row:
            which = label(row) if "settings" in row else row["arm"]
            lines.append(f"- {which} failed: {' '.join(row['failed'].split())[-200:]}")
    return "\n".join(lines)


def key(row: Row) -> tuple[Any, ...]:
    """What was measured."""
    return row["set"], row["arm"], repr(row["settings"]), row["touch"]


def label(row: Row) -> str:
    """An arm's name with its settings if they are not the defaults."""
    settings = " ".join(f"{name}={value}" for name, value in row["settings"].items())
    return row["arm"] + (f" ({settings})" if settings else "") + (", touched" if row["touch"] else "")


def groups(rows: Sequence[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """Runs of the same."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return dict(sorted(found.items(), key=lambda item: statistics.median(row["seconds"] for row in item[1])))


def rate(row: Row) -> float:
    """GB/s."""
    return float(row["bytes"] / row["seconds"] / 1e9)


def cpu(row: Row) -> float:
    """CPU seconds for each GiB."""
    return float(row["cpu_seconds"] / row["bytes"] * (1 << 30))


def _one(name: str, rows: Sequence[Row], peaks: dict[tuple[Any, ...], Row]) -> list[str]:
    size, runs = rows[0]["bytes"] / 1e9, max(map(len, groups(rows).values()))
    lines = [
        f"### {name}: {size:.2f} GB, {rows[0]['state']}, {runs} runs each",
        "",
        "| loader | seconds | GB/s | again, s | CPU-s/GiB | anonymous MiB | pinned MiB | device MiB | start, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for which, found in groups(rows).items():
        peak = peaks.get(which, {})
        cells = [
            label(found[0]) if not found[0]["arm"].startswith("bentosync") else f"**{label(found[0])}**",
            spread([row["seconds"] for row in found], 3),
            spread([rate(row) for row in found]),
            spread([row["again_seconds"] for row in found if "again_seconds" in row], 3),
            spread([cpu(row) for row in found], 3),
            _mib(peak, "anon_bytes"),
            _mib(found[0], "pinned_bytes") if "pinned_bytes" in found[0] else _mib(peak, "locked_bytes"),
            _mib(peak, "device_bytes"),
            spread([row["start_seconds"] for row in found], 1),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _swept(rows: Sequence[Row]) -> list[str]:
    """A line for each arm that was tried with several settings: seconds at best, the fastest first."""
    lines = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        tried = groups([row for row in rows if row["arm"] == arm and "seconds" in row]).values()
        best = sorted((min(row["seconds"] for row in runs), label(runs[0])) for runs in tried)
        settings = [f"{text.removeprefix(arm).strip(' ()') or 'defaults'} {seconds:.3f}" for seconds, text in best]
        lines.append(f"- {arm}, sweep, best of {max(map(len, tried), default=0)}, s: {', '.join(settings)}")
    return ["", *lines] if lines else []


def _mib(row: Row, name: str) -> str:
    return f"{row[name] / (1 << 20):.0f}" if row.get(name) is not None else "-"


def chart(rows: Sequence[Row], out: Path) -> None:
    """GB/s and CPU seconds per GiB, bars at the median, whiskers from best to worst."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise SystemExit("the chart needs matplotlib: scripts/install bench") from None

    timed = [row for row in rows if row.get("kind") == "timed" and "seconds" in row]
    sets = list(dict.fromkeys(row["set"] for row in timed))
    figure, axes = pyplot.subplots(len(sets), 2, figsize=(12, 3.6 * len(sets)), squeeze=False, layout="constrained")
    for line, name in zip(axes, sets, strict=True):
        found = list(reversed(groups([row for row in timed if row["set"] == name]).values()))
        names = [label(runs[0]) for runs in found]
        colours = ["tab:orange" if name.startswith("bentosync") else "tab:gray" for name in names]
        for axis, measure, text in zip(line, (rate, cpu), ("GB/s", "CPU-s/GiB (less is better)"), strict=True):
            values = [[measure(row) for row in runs] for runs in found]
            middle = [statistics.median(each) for each in values]
            reach = [
                [m - min(each) for m, each in zip(middle, values, strict=True)],
                [max(each) - m for m, each in zip(middle, values, strict=True)],
            ]
            axis.barh(names, middle, xerr=reach, color=colours, ecolor="black", capsize=3)
            axis.set_xlabel(text)
        line[0].set_title(f"{name}, {found[0][0]['state']}", loc="left")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--chart", type=Path)
    arguments = parser.parse_args()
    rows = read(arguments.results)
    if arguments.chart:
        chart(rows, arguments.chart)
    print(table(rows, next(row["machine"] for row in rows if "machine" in row)))


if __name__ == "__main__":
    main()
