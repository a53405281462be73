"""S7-S13: pushes whose store loses replies, parts and uploads, or says one thing and means another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bentosync.errors import BentoMLException, IntegrityError, InvalidArgument, NetworkError, RemoteError
from tests.faults.bench import LARGE, SMALL, TRANSFER, Bench
from tests.servers.faulty.actions import (
    Answer,
    Cut,
    ErrorInside,
    FlipRequest,
    Headers,
    Meanwhile,
    Reset,
    ResetRequest,
)
from tests.servers.faulty.objects import Bucket, etag_of

MIB = 1 << 20
# Where a part that is sent twice would be counted, a machine that stands still for half a second must not send one.
WRITES = [
    ("PutObject", r"pushes/"),
    ("PutObject", r"model\.yaml$"),
    ("CreateMultipartUpload", r"large\.bin$"),
    ("UploadPart", r"large\.bin$"),
    ("CompleteMultipartUpload", r"large\.bin$"),
    ("PutObject", r"v1\.jsonl$"),
    ("PutObject", r"large/latest$"),
    ("PutObject", r"bentosync-probe"),
    ("DeleteObject", r"pushes/"),
    ("DeleteObject", r"bentosync-probe"),
]


@pytest.mark.parametrize("lost", [Reset(), Cut(), Cut(at=0)])
@pytest.mark.parametrize(("operation", "key"), WRITES)
def test_a_write_that_was_done_and_whose_reply_was_lost_counts_once(
    fresh: Bench, operation: str, key: str, lost: Cut
) -> None:
    fresh.orphans = operation == "CreateMultipartUpload"  # nobody knows its id; clean-up removes it by age
    fresh.server.inject(operation, lost, key=key)
    finished = fresh.push(LARGE).finished
    assert finished.moved_bytes + finished.reused_bytes == finished.total_bytes


@pytest.mark.parametrize("operation", ["CompleteMultipartUpload", "UploadPart", "PutObject"])
def test_replies_that_are_always_lost_end_in_an_error_and_the_next_push_goes_on(fresh: Bench, operation: str) -> None:
    fresh.server.inject(operation, Reset(), key="large", times=None)
    fresh.push(LARGE, fails=NetworkError)


@pytest.mark.parametrize("lost", [Reset(), Cut()])
def test_a_manifest_that_arrived_although_no_try_was_answered_counts(fresh: Bench, lost: Cut) -> None:
    fresh.server.inject("PutObject", lost, key=r"v1\.jsonl$", times=None)
    trial = fresh.push(SMALL)
    assert len(trial.retried) == TRANSFER.attempts - 1


@pytest.mark.parametrize("code", ["InternalError", "SlowDown", "ServiceUnavailable"])
@pytest.mark.parametrize("spaces", [0, 3, 1000])
@pytest.mark.parametrize("done", [False, True])
def test_an_error_inside_a_complete_of_status_200_is_tried_again(
    fresh: Bench, code: str, spaces: int, done: bool
) -> None:
    fresh.server.inject("CompleteMultipartUpload", ErrorInside(code, spaces, done))
    assert fresh.push(LARGE).retried


def test_an_error_inside_every_complete_is_an_error_and_nothing_is_published(fresh: Bench) -> None:
    fresh.server.inject("CompleteMultipartUpload", ErrorInside("InternalError", 7), times=None)
    fresh.push(LARGE, fails=RemoteError, match="InternalError")


@pytest.mark.parametrize("body", [b"", b"<html>", b"<CompleteMultipartUploadResult/>"])
def test_a_complete_whose_reply_makes_no_sense_is_looked_into(fresh: Bench, body: bytes) -> None:
    class Vague(ErrorInside):
        def change(self, call, reply):  # type: ignore[no-untyped-def]
            return replace(reply, body=body)

    fresh.server.inject("CompleteMultipartUpload", Vague("", done=True))
    fresh.push(LARGE)


def vanish(bucket: Bucket) -> None:
    bucket.uploads.clear()


@pytest.mark.parametrize(
    ("operation", "part"), [("UploadPart", 1), ("UploadPart", 2), ("CompleteMultipartUpload", None)]
)
def test_an_upload_that_vanished_is_begun_again(fresh: Bench, operation: str, part: int | None) -> None:
    fresh.server.inject(operation, Meanwhile(vanish), part=part)
    trial = fresh.push(LARGE)
    assert trial.requests["CreateMultipartUpload"] == 2
    finished = trial.finished
    assert finished.moved_bytes + finished.reused_bytes == finished.total_bytes
    steps = [event.done_bytes for event in trial.seen if type(event).__name__ == "Progress"]
    assert steps == sorted(steps)
    assert steps[-1] == finished.total_bytes


def test_uploads_that_always_vanish_end_in_an_error(fresh: Bench) -> None:
    fresh.server.inject("CompleteMultipartUpload", Meanwhile(vanish), times=None)
    trial = fresh.push(LARGE, fails=BentoMLException)
    assert trial.requests["CreateMultipartUpload"] <= 4


def test_a_part_stored_without_an_etag_is_sent_again(fresh: Bench) -> None:
    fresh.server.inject("UploadPart", Headers({"ETag": None}), part=1)
    assert fresh.push(LARGE).retried


def opaque(bucket: Bucket) -> None:
    for pending in bucket.uploads.values():
        for number, part in pending.parts.items():
            pending.parts[number] = replace(part, etag=etag_of(b"kms" + part.etag.encode()), checksum=None)


@pytest.mark.parametrize("at", [0, 5 * MIB, 16 * MIB - 1])
@pytest.mark.parametrize("operation", ["UploadPart", "PutObject"])
def test_bytes_damaged_on_their_way_up_are_refused_by_the_store_and_sent_again(
    fresh: Bench, operation: str, at: int
) -> None:
    tag, key = (LARGE, "large") if operation == "UploadPart" else (SMALL, r"model\.bin")
    fresh.server.inject(operation, FlipRequest(at), key=key)
    assert "other bytes" in fresh.push(tag).retried[0].reason


def test_bytes_always_damaged_are_an_integrity_error(fresh: Bench) -> None:
    fresh.server.inject("UploadPart", FlipRequest(5), times=None)
    fresh.push(LARGE, fails=IntegrityError, match="other bytes")


# --- resuming ---------------------------------------------------------------------------------------------------------


def interrupted(bench: Bench) -> None:
    """A push that stored both parts and died before Complete."""
    bench.server.inject("CompleteMultipartUpload", Answer(403, "AccessDenied"), times=None)
    bench.push(LARGE, fails=BentoMLException, match="AccessDenied", again=False)
    assert len(next(iter(bench.server.bucket.uploads.values())).parts) == 2


def lose_part(bucket: Bucket) -> None:
    for pending in bucket.uploads.values():
        pending.parts.pop(1)


def shorten_part(bucket: Bucket) -> None:
    for pending in bucket.uploads.values():
        part = pending.parts[1]
        pending.parts[1] = replace(part, data=part.data[:-1], etag=etag_of(part.data[:-1]))


def damage_part(bucket: Bucket) -> None:
    for pending in bucket.uploads.values():
        data = bytearray(pending.parts[1].data)
        data[77] ^= 1
        pending.parts[1] = replace(pending.parts[1], data=bytes(data), etag=etag_of(bytes(data)), checksum=None)


def nothing(bucket: Bucket) -> None:
    """The parts stay as they are."""


@pytest.mark.parametrize("page", [1, 1000])
@pytest.mark.parametrize(
    ("happens", "sent"), [(nothing, 0), (lose_part, 16), (shorten_part, 16), (damage_part, 16), (opaque, 17)]
)
def test_of_an_interrupted_upload_only_missing_and_doubtful_parts_are_sent(
    fresh: Bench, happens: Callable[[Bucket], None], sent: int, page: int
) -> None:
    interrupted(fresh)
    fresh.server.page = page
    happens(fresh.server.bucket)
    trial = fresh.push(LARGE)
    assert trial.received_bytes.get("UploadPart", 0) // MIB == sent
    assert trial.requests["ListParts"] == (1 if page > 1 else 2 - (happens is lose_part))
    assert trial.finished.moved_bytes + trial.finished.reused_bytes == trial.finished.total_bytes


def test_an_upload_that_a_lifecycle_rule_removed_is_begun_again(fresh: Bench) -> None:
    interrupted(fresh)
    fresh.server.inject("ListParts", Meanwhile(vanish))
    assert fresh.push(LARGE).received_bytes["UploadPart"] == 17 * MIB + 3


def test_parts_that_the_list_gave_and_complete_does_not_find_are_sent_again(fresh: Bench) -> None:
    interrupted(fresh)
    fresh.server.inject("CompleteMultipartUpload", Meanwhile(lose_part))
    fresh.push(LARGE)


def test_a_push_cut_in_every_request_once_still_publishes_once(fresh: Bench) -> None:
    for operation in ("PutObject", "CreateMultipartUpload", "CompleteMultipartUpload", "ListObjectsV2", "GetObject"):
        fresh.server.inject(operation, ResetRequest())
    fresh.server.inject("UploadPart", ResetRequest(at=MIB), part=2)
    fresh.push(LARGE)


@pytest.mark.parametrize("code", ["EntityTooSmall", "EntityTooLarge", "KeyTooLongError"])
def test_what_a_store_cannot_hold_is_said_at_once(fresh: Bench, code: str) -> None:
    fresh.server.inject("CompleteMultipartUpload", Answer(400, code), times=None)
    assert not fresh.push(LARGE, fails=InvalidArgument, match=code).retried


def test_a_push_that_gave_up_leaves_parts_that_the_next_one_uses(fresh: Bench) -> None:
    fresh.server.inject("UploadPart", Answer(500, "InternalError"), part=2, times=None)
    fresh.push(LARGE, fails=RemoteError, again=False)
    fresh.server.heal()
    trial = fresh.push(LARGE)
    assert trial.received_bytes.get("UploadPart", 0) <= 17 * MIB + 3
