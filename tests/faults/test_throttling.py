"""N9, N10, N11: stores that ask to slow down, fail for a while, or send us elsewhere. Waiting is virtual."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from msgspec import structs

from bentosync.errors import AuthError, BentoMLException, NetworkError, RemoteError, Throttled
from tests.faults.bench import KEYS, LARGE, Bench, VirtualClock
from tests.servers.faulty.actions import Answer
from tests.servers.faulty.call import Call

SLOW = [(503, "SlowDown"), (429, "TooManyRequests"), (503, "")]


@pytest.mark.parametrize(("status", "code"), SLOW)
@pytest.mark.parametrize("times", [1, 3, 7])
def test_a_storm_that_ends_in_time_costs_only_time(bench: Bench, status: int, code: str, times: int) -> None:
    bench.clock = VirtualClock()
    bench.server.inject("GetObject", Answer(status, code), times=times)
    trial = bench.pull()
    assert len(trial.retried) == times
    assert "slow down" in trial.retried[0].reason


@pytest.mark.parametrize(("status", "code"), SLOW)
def test_a_storm_without_end_is_given_up_after_bounded_tries(bench: Bench, status: int, code: str) -> None:
    bench.clock = VirtualClock()
    bench.server.inject("*", Answer(status, code), key=r"model\.bin", times=None)
    trial = bench.pull(fails=Throttled)
    assert trial.requests["GetObject"] < 40


def test_a_storm_over_many_workers_is_bounded_by_one_budget(bench: Bench) -> None:
    """500 tokens, 5 a failure: with 200 tries allowed each, two ranges together still stop at a hundred."""
    bench.clock = VirtualClock()
    bench.transfer = structs.replace(bench.transfer, attempts=200)
    bench.server.inject("GetObject", Answer(503, "SlowDown"), key="files/", times=None)
    trial = bench.pull(fails=Throttled)
    assert trial.requests["GetObject"] <= 105


@pytest.mark.parametrize(
    ("asked", "low", "high"),
    [
        ("7", 7.0, 7.0),
        ("0", 0.0, 0.01),
        ("garbage", 0.0, 0.01),
        ("-5", 0.0, 0.01),
        ("99999999", 60.0, 60.0),
        ("1e400", 0.0, 0.01),
        ("date", 25.0, 30.0),
        ("date before", 0.0, 0.01),
    ],
)
def test_retry_after_of_every_kind_is_a_lower_bound_up_to_a_minute(
    bench: Bench, asked: str, low: float, high: float
) -> None:
    clock = bench.clock = VirtualClock()
    if asked.startswith("date"):
        moment = datetime.now(UTC) + timedelta(seconds=-30 if "before" in asked else 30)
        asked = format_datetime(moment, usegmt=True)
    bench.server.inject("GetObject", Answer(503, "SlowDown", {"Retry-After": asked}), key=r"model\.bin")
    bench.pull()
    (pause,) = clock.pauses
    assert low <= pause <= high


def test_a_store_that_always_says_an_hour_is_given_up_within_minutes(bench: Bench) -> None:
    clock = bench.clock = VirtualClock()
    bench.server.inject("*", Answer(503, "SlowDown", {"Retry-After": "3600"}), times=None)
    bench.pull(fails=Throttled)
    assert clock.now <= 600


def test_a_push_through_a_storm_publishes_once(fresh: Bench) -> None:
    fresh.clock = VirtualClock()
    turn = iter(range(10_000))
    fresh.server.inject(  # the probe is one call that is repeated as a whole
        "*", Answer(503, "SlowDown"), where=lambda call: "probe" not in call.key and next(turn) % 2 == 0, times=None
    )
    assert len(fresh.push(LARGE).retried) > 10


@pytest.mark.parametrize("status", [500, 502, 504, 408, 425])
@pytest.mark.parametrize("code", ["", "InternalError"])
def test_passing_failures_are_tried_again(bench: Bench, status: int, code: str) -> None:
    bench.server.inject("GetObject", Answer(status, code), key=r"model\.bin", times=2)
    assert len(bench.pull().retried) == 2


@pytest.mark.parametrize(
    "operation",
    ["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "ListObjectsV2", "DeleteObject"],
)
@pytest.mark.parametrize("status", [500, 503])
def test_every_call_of_a_push_is_tried_again(fresh: Bench, operation: str, status: int) -> None:
    fresh.server.inject(operation, Answer(status, "InternalError"), times=2)
    assert len(fresh.push(LARGE).retried) == 2


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (507, ""), (400, "InvalidRequest"), (418, "")])
def test_what_will_not_pass_is_not_tried_again(fresh: Bench, status: int, code: str) -> None:
    fresh.server.inject("CreateMultipartUpload", Answer(status, code), times=None)
    assert not fresh.push(LARGE, fails=RemoteError, match=str(status)).retried


# --- redirects --------------------------------------------------------------------------------------------------------


def in_region(region: str, call: Call) -> bool:
    return f"/{region}/" in call.headers.get("authorization", "")


@pytest.mark.parametrize(("status", "code"), [(301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed")])
@pytest.mark.parametrize("where", ["header", "body"])
def test_a_bucket_in_another_region_is_found_and_stayed_with(bench: Bench, status: int, code: str, where: str) -> None:
    bench.server.keys = replace(KEYS, region="eu-west-3")
    answer = (
        Answer(status, code, {"x-amz-bucket-region": "eu-west-3"})
        if where == "header"
        else Answer(status, code, more="<Region>eu-west-3</Region>")
    )
    rule = bench.server.inject("*", answer, where=lambda call: in_region("us-east-1", call), times=None)
    bench.pull()
    assert rule.fired == 1


def test_regions_that_point_at_each_other_end_in_an_error(bench: Bench) -> None:
    bench.server.inject(
        "*", Answer(301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-3"}),
        where=lambda call: in_region("us-east-1", call), times=None,
    )  # fmt: skip
    bench.server.inject(
        "*", Answer(301, "PermanentRedirect", {"x-amz-bucket-region": "us-east-1"}),
        where=lambda call: in_region("eu-west-3", call), times=None,
    )  # fmt: skip
    assert sum(bench.pull(fails=RemoteError, match="301").requests.values()) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["https://evil.example/", "http://169.254.169.254/latest/", "/elsewhere", "//evil.example/x"]
)
def test_a_location_is_never_followed_so_no_signature_goes_to_another_host(
    bench: Bench, status: int, location: str
) -> None:
    bench.server.inject("GetObject", Answer(status, "", {"Location": location}), times=None)
    trial = bench.pull(fails=RemoteError, match=str(status))
    assert sum(trial.requests.values()) == 1


def test_a_redirect_to_the_same_place_does_not_go_in_circles(bench: Bench) -> None:
    target = f"{bench.server.url}/bench/"
    bench.server.inject("GetObject", Answer(307, "TemporaryRedirect", {"Location": target}), times=None)
    assert sum(bench.pull(fails=RemoteError, match="307").requests.values()) == 1


@pytest.mark.parametrize(
    ("status", "code", "family"),
    [(401, "", AuthError), (403, "AccessDenied", AuthError), (500, "", NetworkError), (302, "", NetworkError)],
)
def test_refusals_of_one_file_name_it(bench: Bench, status: int, code: str, family: type[BentoMLException]) -> None:
    bench.server.inject("*", Answer(status, code), key=r"model\.bin", times=None)
    bench.pull(fails=family, match=r"model\.bin")
