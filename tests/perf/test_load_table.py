"""The table of the loaders' benchmark, from lines made by hand; and that every arm can be named and installed."""

from __future__ import annotations

from typing import Any

from perf import loaders
from perf.load_table import table

MACHINE = {
    "cpu": "X", "cores": 2, "kernel": "6", "file_system": "ext4", "torch": "2", "commit": "c", "load_at_start": 0.1,
    "versions": ["a==1"], "missing": ["InstantTensor"],
}  # fmt: skip


def row(arm: str, seconds: float, kind: str = "timed", **more: Any) -> dict[str, Any]:
    return {
        "kind": kind, "set": "L", "arm": arm, "settings": {}, "touch": False, "state": "warm", "bytes": 2_000_000_000,
        "seconds": seconds, "cpu_seconds": seconds, "start_seconds": 1.0, **more,
    }  # fmt: skip


def test_the_fastest_median_comes_first_and_peaks_come_from_the_watched_run() -> None:
    rows = [
        row("slow", 2.0), row("slow", 4.0), row("slow", 3.0),
        row("bentosync staged", 1.0, pinned_bytes=1 << 20), row("bentosync staged", 1.0),
        row("bentosync staged", 9.0, "watched", anon_bytes=5 << 20, locked_bytes=0),
        row("slow", 0.1, "sweep"),
        {"arm": "other", "failed": "no such device"},
    ]  # fmt: skip
    lines = table(rows, MACHINE).splitlines()
    assert "Not installed: InstantTensor." in lines[0]
    body = [line for line in lines if line.startswith("| ") and "GB/s |" not in line]
    assert body[0].startswith("| **bentosync staged** | 1.000 (1.000–1.000) | 2.00 (2.00–2.00) | - |")  # noqa: RUF001
    assert "| 5 | 1 |" in body[0]
    assert body[1].startswith("| slow | 3.000 (2.000–4.000)")  # noqa: RUF001
    assert lines[-1] == "- other failed: no such device"


def test_a_sweep_says_what_every_setting_took_the_best_first() -> None:
    rows = [row("a", 1.0), row("a", 3.0, "sweep"), row("a", 2.0, "sweep"), row("b", 9.0, "sweep")]
    rows += [row("a", seconds, "sweep", settings={"N": 8}) for seconds in (4.0, 1.5)]
    assert "- a, sweep, best of 2, s: N=8 1.500, defaults 2.000" in table(rows, MACHINE).splitlines()


def test_what_failed_is_named_with_its_settings() -> None:
    failed = row("a", 0.0, "sweep", settings={"N": 8}) | {"failed": "Traceback\nno such file"}
    del failed["seconds"]
    lines = table([row("a", 1.0), failed], MACHINE).splitlines()
    assert lines[-1] == "- a (N=8) failed: Traceback no such file"


def test_settings_and_touching_are_part_of_a_name() -> None:
    lines = table([row("a", 1.0, settings={"threads": 8}), row("a", 1.0, touch=True), row("a", 1.0)], MACHINE)
    assert "| a (threads=8) |" in lines
    assert "| a, touched |" in lines
    assert "| a |" in lines


def test_every_arm_has_a_name_of_its_own_and_defaults_first() -> None:
    assert len({arm.name for arm in loaders.ARMS}) == len(loaders.ARMS)
    assert all(arm.settings[0] == {} for arm in loaders.ARMS)
    assert {arm.name for arm in loaders.arms("cuda")} > {"bentosync", "InstantTensor", "safetensors 0.9 prefetch"}
