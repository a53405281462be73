"""Goals held against lines made by hand: ratios are taken within rounds, and what was not measured says so."""

from __future__ import annotations

from typing import Any

from perf import cold_goals, load_goals


def cold(arm: str, number: int, seconds: float, rate: float = 0.0) -> dict[str, Any]:
    return {
        "arm": arm, "round": number, "rate_gb": rate, "round_trip": 0.0, "seconds": seconds, "cpu_seconds": 2 * seconds,
        "bytes": 10**9, "stages": {},
    }  # fmt: skip


def test_a_cold_start_is_compared_within_its_round() -> None:
    rows = [
        cold("bentosync streamed", 0, 1.0), cold("runai streamer", 0, 2.0),
        cold("bentosync streamed", 1, 9.0), cold("runai streamer", 1, 10.0),
        cold("bentosync streamed", 2, 1.0), cold("runai streamer", 2, 4.0),
        cold("runai streamer", 3, 1.0),
        cold("bentosync streamed", 0, 1.2, rate=1.0),
    ]  # fmt: skip
    held = {goal.what: goal for goal in cold_goals.goals(rows)}
    assert list(held["unshaped: seconds ÷ Run:ai"].values) == [0.5, 0.9, 0.25]
    assert held["unshaped: seconds ÷ Run:ai"].met is True
    assert held["unshaped: CPU ÷ Run:ai"].met is False
    line = next(goal for what, goal in held.items() if what.startswith("1 GB/s: seconds ÷ (1.05"))
    assert [round(value, 4) for value in line.values] == [round(1.2 / 1.35, 4)]
    assert held["unshaped: seconds ÷ pull, then load"].met is None
    text = cold_goals.table(rows)
    assert "| unshaped: CPU ÷ Run:ai | 0.4 | 0.50 (0.25–0.90) | 3 | missed |" in text  # noqa: RUF001
    assert "| unshaped: seconds ÷ pull, then load | 1 | - | 0 | not measured |" in text


def test_what_is_no_arm_is_held_against_its_own_pair() -> None:
    rows = [
        {"case": "four processes", "round": 0, "bytes": 100, "arm": "1 at once", "seconds": 2.0, "server_bytes": 101},
        {"case": "four processes", "round": 0, "bytes": 100, "arm": "4 at once", "seconds": 2.4, "server_bytes": 104},
        {"case": "memory", "arm": "bentosync streamed", "watched": True, "peak_bytes_beyond_tensors": 300 << 20},
    ]
    held = {goal.what: goal for goal in cold_goals.goals(rows)}
    assert list(held["four processes: seconds of the last ÷ one alone"].values) == [1.2]
    assert list(held["four processes: bytes ÷ the model"].values) == [1.04]
    memory = held["bentosync streamed: MiB of memory beyond ring, page cache and tensors"]
    assert (list(memory.values), memory.met) == ([300.0], False)


def loaded(name: str, arm: str, number: int, seconds: float, touch: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "kind": "timed", "set": name, "arm": arm, "touch": touch, "round": number, "seconds": seconds,
        "cpu_seconds": seconds, "bytes": 10**9, **more,
    }  # fmt: skip


def test_a_local_load_is_compared_with_the_best_peer_of_its_round() -> None:
    rows = [
        loaded("L", "bentosync staged", 0, 0.8),
        loaded("L", "fastsafetensors", 0, 1.0), loaded("L", "Run:ai streamer", 0, 1.6),
        loaded("L", "bentosync staged, dropped", 0, 0.05),
    ]  # fmt: skip
    text = load_goals.table(rows, {})
    assert "| L: staged, fresh memory: seconds ÷ best peer | 0.909 | 0.80 (0.80–0.80) | 1 | met |" in text  # noqa: RUF001
    assert "| L: staged, memory used again: 12 GB/s ÷ ours | 1 | 0.60 (0.60–0.60) | 1 | met |" in text  # noqa: RUF001
    assert "| S: staged: seconds of the first call in a process | 0.25 | - | 0 | not measured |" in text


def test_a_machine_with_a_gpu_has_the_goals_of_the_gpu() -> None:
    rows = [
        loaded("L", "bentosync", 0, 0.02, pinned_bytes=256 << 20, device_peak_bytes=10**9),
        loaded("L", "InstantTensor", 0, 0.04),
        loaded("M", "bentosync", 0, 0.03, pinned_bytes=0, device_peak_bytes=0),
    ]
    text = load_goals.table(rows, {"gpu": "X", "h2d_gb_per_s": 50.0})
    assert "| L: 0.85 of the pinned H2D ceiling ÷ ours | 1 | 0.85 (0.85–0.85) | 1 | met |" in text  # noqa: RUF001
    assert "| L: seconds ÷ InstantTensor | 1 | 0.50 (0.50–0.50) | 1 | met |" in text  # noqa: RUF001
    assert "| M: seconds a byte ÷ L | 1.15 | 1.50 (1.50–1.50) | 1 | missed |" in text  # noqa: RUF001


def test_only_what_a_goal_is_about_is_needed() -> None:
    assert load_goals.needed("L", "fastsafetensors", "cpu")
    assert not load_goals.needed("S", "fastsafetensors", "cpu")
    assert load_goals.needed("M", "bentosync", "cuda")
    assert not load_goals.needed("M", "InstantTensor", "cuda")
