from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bentosync.transfer.hedge import Flow, Hedge, Patience, Rescue, Restart, Split, rescue

MIB = 1 << 20
STEADY = Flow(left_bytes=16 * MIB, unit_bytes=MIB, rate=50e6, age_seconds=3.0, quiet_seconds=0.0)
PATIENT = Patience()


def decided(
    *flows: Flow, idle: int = 1, waiting: bool = False, typical_rate: float = 50e6, hedge_bytes: int = 8 * MIB
) -> list[Rescue]:
    return rescue(
        flows, idle=idle, waiting=waiting, typical_rate=typical_rate, hedge_bytes=hedge_bytes, patience=PATIENT
    )


FLOWS = st.builds(
    Flow,
    left_bytes=st.integers(1, 1 << 26),
    unit_bytes=st.just(MIB),
    rate=st.floats(0, 1e9),
    age_seconds=st.floats(0, 100),
    quiet_seconds=st.floats(0, 100),
    restarts=st.integers(0, 5),
    hedged=st.booleans(),
).map(lambda flow: replace(flow, unit_bytes=min(flow.unit_bytes, flow.left_bytes)))


@given(st.lists(FLOWS, max_size=8), st.integers(0, 8), st.booleans(), st.floats(0, 1e9), st.integers(0, 1 << 24))
def test_what_is_decided_can_be_done(
    flows: list[Flow], idle: int, waiting: bool, typical_rate: float, hedge_bytes: int
) -> None:
    actions = decided(*flows, idle=idle, waiting=waiting, typical_rate=typical_rate, hedge_bytes=hedge_bytes)
    assert len({action.index for action in actions}) == len(actions), "one thing for a stream"
    helped = [action for action in actions if not isinstance(action, Restart)]
    assert len(helped) <= idle
    assert not (waiting and helped), "who has other work does not meddle"
    assert sum(flows[a.index].unit_bytes for a in helped if isinstance(a, Hedge)) <= hedge_bytes
    for action in actions:
        flow = flows[action.index]
        if isinstance(action, Split):
            assert action.keep_bytes % flow.unit_bytes == 0
            assert 0 < action.keep_bytes < flow.left_bytes
        if isinstance(action, Hedge):
            assert not flow.hedged


def test_streams_that_do_well_are_left_alone() -> None:
    assert decided(STEADY, STEADY, STEADY, waiting=True) == []
    assert decided(replace(STEADY, left_bytes=4 * MIB), STEADY, idle=4, typical_rate=50e6) == []


def test_an_idle_stream_takes_the_far_half_of_a_range_that_would_take_long() -> None:
    long = replace(STEADY, left_bytes=64 * MIB, rate=20e6)
    assert decided(long, typical_rate=20e6) == [Split(0, 32 * MIB)]


def test_a_slow_stream_keeps_what_it_can_do_in_the_time_that_a_fresh_one_takes_for_the_rest() -> None:
    (action,) = decided(replace(STEADY, left_bytes=60 * MIB, rate=10e6), typical_rate=50e6)
    assert action == Split(0, 10 * MIB)


def test_a_stuck_stream_loses_all_but_the_unit_it_is_in_and_then_that_is_hedged() -> None:
    stuck = replace(STEADY, rate=0.0, quiet_seconds=2.0)
    assert decided(stuck, STEADY) == [Split(0, MIB)]
    assert decided(replace(stuck, left_bytes=MIB), STEADY) == [Hedge(0)]


def test_a_unit_is_hedged_once_and_only_within_the_budget() -> None:
    stuck = replace(STEADY, rate=0.0, quiet_seconds=2.0, left_bytes=MIB)
    assert decided(replace(stuck, hedged=True), STEADY) == []
    assert decided(stuck, STEADY, hedge_bytes=MIB - 1) == []
    assert decided(stuck, stuck, STEADY, idle=2, hedge_bytes=MIB) == [Hedge(0)]


def test_a_young_stream_has_time_to_begin() -> None:
    assert decided(replace(STEADY, rate=0.0, age_seconds=0.4)) == []


def test_a_quiet_stream_is_given_up_while_its_siblings_flow() -> None:
    quiet = replace(STEADY, rate=0.0, age_seconds=6.0, quiet_seconds=6.0)
    assert decided(STEADY, quiet, STEADY, waiting=True) == [Restart(1)]
    assert decided(STEADY, replace(quiet, restarts=2), waiting=True) == [], "then it is the object that is slow"


def test_a_stream_far_slower_than_its_siblings_is_given_up() -> None:
    slow = replace(STEADY, rate=4e6, age_seconds=6.0)
    assert decided(STEADY, slow, STEADY, waiting=True) == [Restart(1)]
    assert decided(STEADY, replace(slow, rate=6e6), STEADY, waiting=True) == []


def test_where_all_are_slow_none_is_slow() -> None:
    slow = replace(STEADY, rate=20e3, age_seconds=100.0, quiet_seconds=6.0)
    assert decided(slow, slow, slow, waiting=True, typical_rate=20e3) == []


def test_a_drip_is_given_up_even_if_it_is_alone() -> None:
    drip = replace(STEADY, rate=100.0, age_seconds=30.0)
    assert decided(drip, waiting=False, idle=0, typical_rate=0.0) == [Restart(0)]
    assert decided(replace(drip, age_seconds=29.0), idle=0, typical_rate=0.0) == []
    assert decided(replace(drip, rate=2048.0), idle=0, typical_rate=0.0) == []
