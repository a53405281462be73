"""A picture of results: CPU seconds per GiB and GB/s of every arm, bars at the median, whiskers from best to worst.

python -m perf.chart perf/results/pull.jsonl --out build/perf/pull.svg        # needs the `bench` extra
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from perf.report import OURS, cpu, groups, rate, read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="an .svg or .png")
    arguments = parser.parse_args()
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise SystemExit("perf.chart needs matplotlib: scripts/install bench") from None

    found = groups(read(arguments.results))
    figure, axes = pyplot.subplots(len(found), 2, figsize=(11, 3.2 * len(found)), squeeze=False, layout="constrained")
    for row, (group, arms) in zip(axes, found.items(), strict=True):
        order = sorted(arms, key=lambda arm: -statistics.median(cpu(run) for run in arms[arm]))
        colours = ["tab:orange" if arm.startswith(OURS) else "tab:gray" for arm in order]
        for axis, measure, label in zip(row, (cpu, rate), ("CPU-s/GiB (less is better)", "GB/s"), strict=True):
            values = [[measure(run) for run in arms[arm]] for arm in order]
            middle = [statistics.median(each) for each in values]
            reach = [
                [m - min(each) for m, each in zip(middle, values, strict=True)],
                [max(each) - m for m, each in zip(middle, values, strict=True)],
            ]
            axis.barh(order, middle, xerr=reach, color=colours, ecolor="black", capsize=3)
            axis.set_xlabel(label)
        bench, way, scheme, durable = group
        row[0].set_title(f"{bench}: {way}, {scheme}{', durable' if durable else ''}", loc="left")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out)


if __name__ == "__main__":
    main()
