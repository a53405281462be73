"""The goals of a local load held against `bench_load`'s lines, one row a goal. Pure.

Ratios are taken within rounds, against the rival's best settings in that round; a goal is met when the median over the
rounds meets it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perf.cold_goals import Goal, printed

Row = dict[str, Any]
_MIB = 1 << 20
_BLOCK_MIB = 256

MAPPED, STAGED, DROPPED = "bentosync mapped", "bentosync staged", "bentosync staged, dropped"
SAFE_OPEN = "safetensors safe_open"
READERS = ("safetensors load_file pread", "fastsafetensors", "Run:ai streamer")
"""Peers that read into memory of their own."""

GPU_PEERS: Mapping[str, float] = {
    "InstantTensor": 1.0,
    "safetensors 0.9 prefetch": 1.5,
    "fastsafetensors": 3.0,
    "safetensors load_file": 5.0,
}
"""How many times as fast we want to be."""

_NEEDED: Mapping[str, Sequence[str]] = {
    "L": (MAPPED, STAGED, DROPPED, SAFE_OPEN, *READERS),
    "M": (MAPPED, STAGED, SAFE_OPEN, "safetensors load_file pread"),
    "S": (MAPPED, STAGED, SAFE_OPEN),
}


def needed(name: str, arm: str, kind: str) -> bool:
    """Whether a goal is about this arm with checkpoint `name`."""
    if kind != "cpu":
        return arm == "bentosync" or (name == "L" and arm in GPU_PEERS)
    return arm in _NEEDED[name]


def table(rows: Sequence[Row], machine: Row) -> str:
    """Markdown."""
    return printed(list(_on_gpu(rows, machine) if "gpu" in machine else _on_cpu(rows)))


def _on_cpu(rows: Sequence[Row]) -> Iterator[Goal]:
    for name in ("L", "M", "S"):
        for touch in (False, True):
            what = f"{name}: mapped{' and touched' if touch else ''}: seconds ÷ safe_open"
            yield Goal(what, 1.1, _ratios(rows, name, MAPPED, (SAFE_OPEN,), touch=touch))
        extra = [_peak(rows, name, MAPPED) - _peak(rows, name, SAFE_OPEN)] if _watched(rows, name, MAPPED) else []
        yield Goal(f"{name}: mapped: anonymous MiB more than safe_open", 8, extra)
    yield Goal("L: staged, fresh memory: seconds ÷ best peer", 1 / 1.1, _ratios(rows, "L", STAGED, READERS))
    yield Goal("L: staged, fresh memory: CPU ÷ best peer", 1 / 1.1, _ratios(rows, "L", STAGED, READERS, "cpu_seconds"))
    yield Goal("M: staged: seconds ÷ load_file pread", 1 / 1.1, _ratios(rows, "M", STAGED, READERS[:1]))
    reused = [12e9 / (row["bytes"] / row["seconds"]) for row in _runs(rows, "L", DROPPED)]
    yield Goal("L: staged, memory used again: 12 GB/s ÷ ours", 1.0, reused)
    yield Goal("S: staged: seconds of the first call in a process", 0.25, _seconds(rows, "S", STAGED))


def _on_gpu(rows: Sequence[Row], machine: Row) -> Iterator[Goal]:
    ours = _runs(rows, "L", "bentosync")
    ceiling = [0.85 * machine["h2d_gb_per_s"] * 1e9 / (row["bytes"] / row["seconds"]) for row in ours]
    yield Goal("L: 0.85 of the pinned H2D ceiling ÷ ours", 1.0, ceiling)
    for peer, times in GPU_PEERS.items():
        yield Goal(f"L: seconds ÷ {peer}", 1 / times, _ratios(rows, "L", "bentosync", (peer,)))
    by_round = {row["round"]: row for row in ours}
    per_byte = [
        (row["seconds"] / row["bytes"]) / (by_round[row["round"]]["seconds"] / by_round[row["round"]]["bytes"])
        for row in _runs(rows, "M", "bentosync")
        if row["round"] in by_round
    ]
    yield Goal("M: seconds a byte ÷ L", 1.15, per_byte)
    yield Goal("S: seconds of the first call in a process", 0.25, _seconds(rows, "S", "bentosync"))
    yield Goal("L: pinned MiB", 512, [row["pinned_bytes"] / _MIB for row in ours])
    beyond = [(row["device_peak_bytes"] - row["bytes"]) / _MIB for row in ours]
    yield Goal("L: device MiB beyond the weights (a block)", _BLOCK_MIB, beyond)


def _runs(rows: Sequence[Row], name: str, arm: str, *, touch: bool = False) -> list[Row]:
    return [
        row
        for row in rows
        if (row.get("kind"), row.get("set"), row.get("arm"), row.get("touch")) == ("timed", name, arm, touch)
        and "seconds" in row
    ]


def _seconds(rows: Sequence[Row], name: str, arm: str) -> list[float]:
    return [row["seconds"] for row in _runs(rows, name, arm)]


def _ratios(
    rows: Sequence[Row], name: str, arm: str, peers: Sequence[str], measure: str = "seconds", *, touch: bool = False
) -> list[float]:
    best: dict[int, float] = {}
    for peer in peers:
        for row in _runs(rows, name, peer, touch=touch):
            best[row["round"]] = min(best.get(row["round"], row[measure]), row[measure])
    ours = _runs(rows, name, arm, touch=touch)
    return [row[measure] / best[row["round"]] for row in ours if row["round"] in best]


def _watched(rows: Sequence[Row], name: str, arm: str) -> list[Row]:
    return [
        row
        for row in rows
        if (row.get("kind"), row.get("set"), row.get("arm"), row.get("touch")) == ("watched", name, arm, False)
        and row.get("anon_bytes") is not None
    ]


def _peak(rows: Sequence[Row], name: str, arm: str) -> float:
    return max((row["anon_bytes"] / _MIB for row in _watched(rows, name, arm)), default=0.0)
