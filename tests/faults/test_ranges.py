"""S1-S6, R10: replies to range requests that are not the range."""

from __future__ import annotations

import pytest

from bentosync.errors import BentoMLException, Conflict, IntegrityError, RemoteError
from tests import oracle
from tests.blocks import content
from tests.faults.bench import PREFIX, Bench
from tests.servers.faulty.actions import (
    Action,
    Answer,
    Elsewhere,
    Endless,
    Flip,
    Gzip,
    Headers,
    Meanwhile,
    Shifted,
    Status,
    Whole,
)
from tests.servers.faulty.objects import Bucket, etag_of

MIB = 1 << 20
MODEL = r"model\.bin"
ODDITIES: dict[str, Action] = {
    "200 and the whole object": Whole(),
    "200 and the right range": Status(200),
    "no Content-Range": Headers({"Content-Range": None}),
    "Content-Range without numbers": Headers({"Content-Range": "bytes */9449529"}),
    "Content-Range in other units": Headers({"Content-Range": "items 0-8388607/9449529"}),
    "Content-Range of another range": Headers({"Content-Range": "bytes 1-8388608/9449529"}),
    "the range next to it": Shifted(4096),
    "gzip, admitted": Gzip(),
    "gzip, not admitted": Gzip(honest=False),
    "zstd by name": Headers({"Content-Encoding": "zstd"}),
    "aws-chunked": Headers({"Content-Encoding": "aws-chunked"}),
    "a byte wrong": Flip(3 * MIB),
    "more than announced": Endless(),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_a_reply_that_is_not_the_range_is_not_used_and_the_range_is_asked_for_again(bench: Bench, oddity: str) -> None:
    bench.server.inject("GetObject", ODDITIES[oddity], key=MODEL)
    trial = bench.pull()
    assert trial.retried or oddity == "more than announced"  # the bytes announced were right; the line is dropped


@pytest.mark.parametrize("oddity", ODDITIES)
def test_a_store_that_always_answers_so_is_an_error_and_nothing_is_published(bench: Bench, oddity: str) -> None:
    if oddity == "more than announced":
        bench.server.inject("GetObject", ODDITIES[oddity], key=MODEL, times=None)
        bench.pull()
        return
    bench.server.inject("GetObject", ODDITIES[oddity], key=MODEL, times=None)
    bench.pull(fails=IntegrityError if oddity == "a byte wrong" else RemoteError, match=MODEL)


def test_a_total_that_differs_is_an_integrity_error_that_says_both_sizes(bench: Bench) -> None:
    wrong = Headers({"Content-Range": "bytes 0-8388607/8388608"})
    bench.server.inject("GetObject", wrong, key=MODEL, where=lambda call: call.headers.get("range", "")[6:8] == "0-")
    bench.server.inject("GetObject", Headers({"Content-Range": "bytes 0-1/2"}), key=MODEL, times=1)
    bench.pull(fails=BentoMLException, match=MODEL)


def test_a_range_that_cannot_be_satisfied_is_an_integrity_error(bench: Bench) -> None:
    bench.server.inject("GetObject", Answer(416, "InvalidRange"), key=MODEL, times=None)
    bench.pull(fails=IntegrityError, match="shorter")


@pytest.mark.parametrize("at", [0, 1, MIB - 1, MIB, 8 * MIB - 1])
@pytest.mark.parametrize("verify", ["auto", "strong"])
def test_a_flipped_byte_costs_its_block_and_no_more(bench: Bench, at: int, verify: str) -> None:
    bench.server.inject("GetObject", Flip(at), key=MODEL, where=lambda call: "bytes=0-" in call.headers["range"])
    trial = bench.pull(verify=verify)  # type: ignore[arg-type]
    assert len(trial.retried) == 1
    assert "digest" in trial.retried[0].reason
    assert trial.finished.refetched_bytes == (8 * MIB if verify == "strong" else MIB)


@pytest.mark.parametrize("checksum", ["AAAAAAAAAAA=", "garbage", "AAAAAAAAAAA=-3", None])
def test_checksum_headers_of_ranges_decide_nothing_digests_do(bench: Bench, checksum: str | None) -> None:
    fields = {"x-amz-checksum-crc64nvme": checksum, "x-amz-checksum-type": "COMPOSITE"}
    bench.server.inject("GetObject", Headers(fields), key=MODEL, times=None)
    assert not bench.pull().retried


def test_an_object_replaced_by_other_bytes_between_two_ranges_is_never_mixed(bench: Bench) -> None:
    def replace_it(bucket: Bucket) -> None:
        key = next(key for key in bucket.objects if key.endswith("model.bin"))
        bucket.put(key, content(77, len(bucket.objects[key].data)))

    bench.server.inject("GetObject", Meanwhile(replace_it), key=MODEL, nth=2)
    with pytest.raises(oracle.Broken):  # what lies on the server now is no version any more, whatever we did
        bench.pull(fails=BentoMLException)
    assert not (bench.root / "consumer" / "models" / "small" / "v1").exists()
    bench.server.bucket.become(bench.published)
    bench.server.heal()
    bench.pull()


def test_an_object_rewritten_with_equal_bytes_under_another_etag_is_a_conflict_or_nothing(bench: Bench) -> None:
    def rewrite(bucket: Bucket) -> None:
        key = next(key for key in bucket.objects if key.endswith("model.bin"))
        bucket.put(key, bucket.objects[key].data, etag=etag_of(b"another"))

    bench.server.inject("GetObject", Meanwhile(rewrite), key=MODEL, nth=2)
    bench.pull(fails=Conflict, match="replaced")


def test_bytes_of_another_object_are_caught_by_their_digests(bench: Bench) -> None:
    other = f"{PREFIX}files/other-object"
    bench.server.bucket.put(other, content(55, 10 * MIB))
    bench.server.inject("GetObject", Elsewhere(other), key=MODEL, times=None)
    with pytest.raises(AssertionError, match="nobody will ever remove"):  # the other object
        bench.pull(fails=IntegrityError, match=MODEL)
    bench.server.bucket.become(bench.published)
    bench.pull()
