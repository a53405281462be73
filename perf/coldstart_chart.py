"""Stacked bars of `bench_coldstart`: what each arm spent between its stages, medians, one panel a bandwidth."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perf.bench_coldstart import STAGES

_COLOURS = ("tab:gray", "tab:purple", "tab:cyan", "tab:brown", "tab:orange", "tab:blue", "lightsteelblue")


def draw(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Write the picture; needs the `bench` extra."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise SystemExit("a chart needs matplotlib: scripts/install bench") from None

    runs = [row for row in rows if "seconds" in row and "case" not in row]
    rates = list(dict.fromkeys(row["rate_gb"] for row in runs))
    figure, axes = pyplot.subplots(len(rates), 1, figsize=(10, 2.6 * len(rates)), squeeze=False, layout="constrained")
    for (axis,), rate in zip(axes, rates, strict=True):
        here = [row for row in runs if row["rate_gb"] == rate]
        for arm in reversed(list(dict.fromkeys(row["arm"] for row in here))):
            left = 0.0
            for stage, colour in zip(STAGES, _COLOURS, strict=True):
                reached = [row["stages"][stage] for row in here if row["arm"] == arm and stage in row["stages"]]
                if reached and (end := statistics.median(reached)) > left:
                    axis.barh(arm, end - left, left=left, color=colour, label=stage)
                    left = end
        size = here[0]["bytes"]
        if rate:
            axis.axvline(size / rate / 1e9, color="black", linestyle="--", linewidth=0.8)
        axis.set_title(f"{rate:g} GB/s (dashed: bytes / bandwidth)" if rate else "unshaped", loc="left")
        axis.set_xlabel("seconds since the call")
        handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        names = [stage for stage in STAGES if stage in handles]
        beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "fontsize": "small"}
        axis.legend([handles[name] for name in names], names, **beside)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
