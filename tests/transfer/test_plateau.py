"""The controller alone, over made-up counters. Whole transfers: test_flights."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from bentosync.transfer.plateau import LEVEL_START, Fixed, Plateau
from bentosync.transfer.window import Seen, Window

MB = 1e6
TICK = 0.05


class World:
    """Counters that grow as `rate(level)` and `share(level)` say; twenty requests a second for each stream."""

    def __init__(
        self, plateau: Plateau, rate: Callable[[int], float], share: Callable[[int], float] = lambda level: 0.0
    ) -> None:
        self.plateau = plateau
        self.rate = rate
        self.share = share
        self.broken_share = 0.0
        self.now = 50.0
        self.moved = self.requests = self.refused = 0.0
        self.levels: list[int] = []
        self.collapses = 0

    def live(self, seconds: float) -> list[int]:
        """The levels of so many more seconds, tick by tick."""
        first = len(self.levels)
        for _ in range(round(seconds / TICK)):
            level = self.plateau.level
            self.now += TICK
            self.moved += self.rate(level) * TICK
            self.requests += level * 20 * TICK
            self.refused += level * 20 * TICK * self.share(level)
            seen = Seen(
                self.moved, int(self.requests), int(self.refused), int(self.requests * self.broken_share), level
            )
            self.levels.append(self.plateau.tick(self.now, seen))
            self.collapses += self.plateau.collapsed
        return self.levels[first:]


def linear_up_to(knee: int) -> Callable[[int], float]:
    return lambda level: min(level, knee) * 50 * MB


@given(st.integers(1, 100), st.integers(1, 64))
def test_the_level_stays_between_one_and_the_most_whatever_happens(level_max: int, knee: int) -> None:
    world = World(Plateau(level_max), linear_up_to(knee), lambda level: 0.5 if level > knee // 2 else 0.0)
    assert all(1 <= level <= level_max for level in world.live(20))


def test_it_doubles_while_that_pays() -> None:
    world = World(Plateau(64), linear_up_to(64))
    levels = world.live(1.5)
    assert levels[0] == LEVEL_START
    assert sorted(set(levels)) == [4, 8, 16, 32, 64]
    assert levels == sorted(levels)


@given(st.sampled_from([1, 2, 3, 4, 6, 10, 13, 20, 40]))
def test_it_comes_to_rest_near_the_knee(knee: int) -> None:
    world = World(Plateau(64), linear_up_to(knee))
    world.live(60)
    held = sorted(world.live(60))
    assert knee <= held[len(held) // 2] <= max(knee + 1, knee * 1.45)


def test_a_gain_of_less_than_a_twentieth_keeps_no_level() -> None:
    world = World(Plateau(64), lambda level: 400 * MB * (1 + 0.01 * level))
    world.live(60)
    assert sorted(world.live(60))[600] <= LEVEL_START


def test_it_looks_around_ever_more_rarely() -> None:
    world = World(Plateau(64), linear_up_to(8))

    def changes(levels: list[int]) -> int:
        return sum(a != b for a, b in itertools.pairwise(levels))

    assert changes(world.live(30)) >= 4
    world.live(120)
    assert changes(world.live(240)) <= 8


def test_refusals_send_it_back_to_the_level_that_was_clean() -> None:
    world = World(Plateau(64), linear_up_to(8), lambda level: max(0.0, 1 - 8 / level))
    levels = world.live(30)
    assert levels[levels.index(16) :].count(16) * TICK < 1.0
    assert world.plateau.held
    held = sorted(world.live(30))
    assert 6 <= held[300] <= 8


def test_refusals_that_follow_no_level_are_no_reason_to_stay_low() -> None:
    world = World(Plateau(64), linear_up_to(64), lambda level: 0.3)
    world.live(20)
    assert sorted(world.live(10))[100] >= 32


def test_a_few_broken_connections_change_nothing() -> None:
    calm, rough = World(Plateau(64), linear_up_to(16)), World(Plateau(64), linear_up_to(16))
    rough.broken_share = 0.05
    assert calm.live(20) == rough.live(20)


def test_a_collapse_is_left_at_once_and_for_minutes() -> None:
    world = World(Plateau(64), lambda level: level * (50 * MB if level <= 8 else 1 * MB))
    levels = world.live(10)
    assert world.collapses >= 1
    assert sum(level > 8 for level in levels) * TICK < 2
    assert all(level <= 8 for level in world.live(120))


def test_a_server_that_is_overwhelmed_from_the_start_is_found_out() -> None:
    for knee in (2, 3):
        world = World(Plateau(64), lambda level, knee=knee: level * (50 * MB if level <= knee else 1 * MB))  # type: ignore[misc]
        world.live(60)
        assert sorted(world.live(30))[300] == knee


def test_after_minutes_a_collapsed_level_is_tried_again() -> None:
    world = World(Plateau(64), lambda level: level * (50 * MB if level <= 8 else 1 * MB))
    world.live(20)
    world.rate = linear_up_to(64)
    assert max(world.live(900)) > 16


def test_a_line_that_becomes_slow_is_not_taken_for_a_level_that_is_bad() -> None:
    world = World(Plateau(64), linear_up_to(16))
    world.live(20)
    world.rate = lambda level: min(level, 16) * 5 * MB
    world.live(30)
    assert sorted(world.live(30))[300] >= 12
    assert world.collapses == 0


def test_a_stalled_transfer_does_not_divide_by_nothing() -> None:
    assert World(Plateau(64), lambda level: 0.0).live(60)


def test_a_fixed_level_is_fixed() -> None:
    assert set(World(Fixed(7), linear_up_to(64)).live(30)) == {7}


@given(st.integers(1, 1000), st.integers(1, 1000), st.floats(0, 1), st.floats(0, 1))
def test_equal_shares_are_not_apart_and_a_larger_one_is_above(few: int, many: int, one: float, other: float) -> None:
    first, second = Window(4, 0.0, few, int(few * one), 0), Window(2, 0.0, many, int(many * other), 0)
    assert first.apart(first) == 0
    assert first.apart(second) == -second.apart(first)
    assert (first.apart(second) > 0) == (first.share > second.share)
