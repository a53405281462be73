"""The engine over simulated stores, in virtual time: real scheduling, real proofs, no bytes and no waiting."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

import pytest

from bentosync.errors import NetworkError
from bentosync.transfer import plateau
from bentosync.transfer.flights import HEDGED_SHARE_MAX, Flight, Flights, Gap
from bentosync.transfer.hedge import Patience
from bentosync.transfer.meter import Meter
from bentosync.transfer.window import Seen
from tests.transfer import virtual
from tests.transfer.weather import GIB, MB, Outcome, Weather, pull

FIXED = (1, 2, 4, 8, 16, 32, 64)
PER_CONNECTION = {"rate_connection": 60 * MB, "round_trip": 0.01}

GRID = {
    "near": (Weather(), 1.1),
    "20 ms away": (Weather(round_trip=0.02), 1.2),
    "slow line": (Weather(rate_total=100 * MB, rate_connection=20 * MB, round_trip=0.03), 1.1),
    "503 above 3": (Weather(slow_down_above=3, **PER_CONNECTION), 1.3),
    "503 above 8": (Weather(slow_down_above=8, **PER_CONNECTION), 1.3),
    "30 % 503": (Weather(refuse_share=0.3), 1.3),
    "crawls above 8": (Weather(crawl_above=8, **PER_CONNECTION), 1.3),
    "one stalled stream": (Weather(stall_nth=(5,)), 1.3),
    "one drips": (Weather(drip_nth=(5,)), 1.3),
    "a tenth is slow": (Weather(slow_share=0.1, **PER_CONNECTION), 1.3),
    "60 MB/s a connection": (Weather(rate_total=5000 * MB, **PER_CONNECTION), 1.3),
    "60 MB/s and 30 % 503": (Weather(refuse_share=0.3, **PER_CONNECTION), 1.3),
    "503 above 20": (Weather(slow_down_above=20, **PER_CONNECTION), 1.3),
    "crawls above 16": (Weather(crawl_above=16, **PER_CONNECTION), 1.3),
    "connections break": (Weather(reset_share=0.002, **PER_CONNECTION), 1.3),
}


def best_fixed(weather: Weather, size: int) -> tuple[float, int]:
    def seconds(level: int) -> float:
        try:
            return pull(weather, size, fixed=level).seconds
        except NetworkError:
            return float("inf")

    return min((seconds(level), level) for level in FIXED)


@pytest.mark.long
@pytest.mark.parametrize("name", GRID)
def test_seeking_costs_less_than_a_third_of_the_best_fixed_setting(name: str) -> None:
    weather, ratio_max = GRID[name]
    size = 16 * GIB
    best, level = best_fixed(weather, size)
    ours = sorted((pull(weather, size, seed=seed) for seed in (1, 2, 3)), key=lambda outcome: outcome.seconds)[1]
    print(f"{name:24} best {best:7.2f} s with {level:2}, ours {ours.seconds:7.2f} s, {ours.seconds / best:.2f}")
    assert ours.seconds <= best * ratio_max


def settled(outcome: Outcome) -> int:
    """The level at which most of the time was spent."""
    spent: dict[int, float] = {}
    ends = [*[at for at, _ in outcome.levels[1:]], outcome.seconds]
    for (at, level), end in zip(outcome.levels, ends, strict=True):
        spent[level] = spent.get(level, 0.0) + end - at
    return max(spent, key=lambda level: spent[level])


def test_no_more_streams_than_bring_something() -> None:
    outcome = pull(Weather(rate_total=400 * MB, rate_connection=100 * MB), 4 * GIB)
    assert 3 <= settled(outcome) <= 6
    assert outcome.rate > 0.9 * 400 * MB


def test_no_more_streams_than_a_server_takes() -> None:
    outcome = pull(Weather(slow_down_above=8, **PER_CONNECTION), 8 * GIB)
    assert 6 <= settled(outcome) <= 8
    assert outcome.meter.throttled < 120
    assert outcome.meter.held_seconds > outcome.seconds / 2


def test_refusals_that_have_nothing_to_do_with_the_number_of_streams_do_not_keep_it_small() -> None:
    outcome = pull(Weather(refuse_share=0.3, **PER_CONNECTION), 8 * GIB)
    assert settled(outcome) >= 24


def test_a_level_that_collapsed_is_left_at_once_and_not_tried_again() -> None:
    outcome = pull(Weather(crawl_above=8, **PER_CONNECTION), 8 * GIB)
    assert 6 <= settled(outcome) <= 8
    too_many = [at for at, level in outcome.levels if level > 8]
    assert len(too_many) <= 4
    assert max(too_many) < 5


def test_jobs_is_the_most_there_ever_is() -> None:
    outcome = pull(Weather(**PER_CONNECTION), 2 * GIB, jobs=5)
    assert outcome.active_most == 5 == outcome.meter.level_most


def test_a_line_that_changes_is_learnt_anew() -> None:
    fast = Weather(rate_total=2000 * MB, **PER_CONNECTION)
    outcome = pull(Weather(rate_total=120 * MB, rate_connection=60 * MB, changes_at=8.0, then=fast), 6 * GIB)
    assert max(level for _, level in outcome.levels) >= 8


def test_a_stalled_stream_at_the_end_costs_a_hedge_and_not_its_patience() -> None:
    weather = Weather(stall_nth=(2,), rate_connection=100 * MB)
    outcome = pull(weather, GIB // 4, jobs=4)
    assert outcome.seconds < 3
    assert outcome.meter.hedges == 1
    assert outcome.meter.hedged_bytes <= outcome.size * HEDGED_SHARE_MAX


def test_a_stalled_stream_in_the_middle_is_given_up_while_others_flow() -> None:
    outcome = pull(Weather(stall_nth=(2,), rate_connection=100 * MB), 8 * GIB, jobs=4)
    assert outcome.meter.restarts == 1
    assert outcome.meter.broken == 0, "before the wire notices"


def test_a_slow_stream_loses_its_range_to_the_idle_ones() -> None:
    outcome = pull(Weather(slow_share=0.1, slow_rate=3 * MB, rate_connection=100 * MB), GIB, jobs=8, seed=3)
    assert outcome.meter.splits > 0
    assert outcome.seconds < 4  # one slow stream needs 10 s for its 32 MiB


@pytest.mark.parametrize("seed", range(6))
def test_what_comes_twice_is_bounded_whatever_happens(seed: int) -> None:
    weather = Weather(
        slow_share=0.2, slow_rate=MB, stall_nth=(3, 17), drip_nth=(8,), reset_share=0.001, refuse_share=0.05,
        rate_connection=80 * MB, round_trip=0.01,
    )  # fmt: skip
    outcome = pull(weather, GIB, jobs=16, files=4, seed=seed)
    assert outcome.meter.hedged_bytes <= outcome.size * HEDGED_SHARE_MAX
    assert outcome.sent_bytes - outcome.size <= outcome.size * 0.1
    assert outcome.dropped_bytes <= outcome.size * 0.1


class Restless(plateau.Plateau):
    """Changes its mind at every tick."""

    def tick(self, now: float, seen: Seen) -> int:
        self.level = 1 if self.level > 1 else 64
        return self.level


@dataclass
class Carried:
    """A stream that brings everything at its end."""

    position: int
    end: int
    received: int = 1

    @property
    def edge(self) -> int:
        return self.end


def flights_over(leaves: int, pause: float, closed: list[tuple[int, int]]) -> Flights[str]:
    """As many requests of a leaf each; what was fetched is in `closed`."""

    async def fetch(flight: Flight[str]) -> None:
        stream = flight.stream = Carried(flight.start, flight.end)
        await asyncio.sleep(pause)
        stream.position = stream.end
        closed.append((flight.start, stream.end))

    return Flights(
        [Gap("f", 0, leaves << 23)], fetch, name=str, plateau=Restless(64), meter=Meter(), moved=lambda: 0,
        range_bytes=1 << 23, patience=Patience(),
    )  # fmt: skip


@pytest.mark.parametrize("pause", [0.01, 0.05, 0.25])
def test_flights_that_are_stopped_again_and_again_lose_no_range(pause: float) -> None:
    closed: list[tuple[int, int]] = []

    async def main() -> None:
        async with asyncio.timeout(600):
            await flights_over(400, pause, closed).run()

    virtual.run(main())
    assert sorted(closed) == [(n << 23, (n + 1) << 23) for n in range(400)]


def test_a_flight_that_is_stopped_before_its_first_step_gives_its_range_back() -> None:
    """A task that is cancelled so early never runs, not even its `finally`."""
    closed: list[tuple[int, int]] = []

    async def main() -> None:
        flights = flights_over(1, 0.01, closed)
        async with asyncio.TaskGroup() as tasks:
            flights._begin(tasks, flights._next())
            flights._stop(flights._flights[0])
        assert flights._flights == []
        async with asyncio.timeout(60):
            await flights.run()

    virtual.run(main())
    assert closed == [(0, 1 << 23)]


def test_a_server_that_only_drips_is_given_up() -> None:
    with pytest.raises(NetworkError, match="gets stuck or drips"):
        pull(Weather(rate_total=400, drip_rate=10, drip_nth=tuple(range(1, 1000))), 64 << 20, jobs=2)


@pytest.mark.parametrize("seed", range(int(os.environ.get("BENTOSYNC_TEST_SEEDS", "4"))))
def test_every_byte_is_told_once_in_any_weather(seed: int) -> None:
    weathers = [weather for weather, _ in GRID.values()]
    pull(weathers[seed % len(weathers)], 512 << 20, files=2, seed=seed)  # asserts so itself
