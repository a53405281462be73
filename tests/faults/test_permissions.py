"""S14-S20: credentials that expire, clocks that differ, permissions that lack, conditions that do not count."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from bentosync.errors import AuthError, InvalidArgument, NotFound
from tests.faults.bench import KEYS, LARGE, PREFIX, SMALL, Bench
from tests.servers.faulty.actions import Answer, Meanwhile, Past, Unconditional
from tests.servers.faulty.objects import Bucket

RENEWED = replace(KEYS, tokens=frozenset({"canary-other-token"}))


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_credentials_that_expire_in_the_middle_of_a_pull_are_loaded_again(
    bench: Bench, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotate(bucket: Bucket) -> None:
        bench.server.keys = RENEWED
        monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-other-token")

    bench.server.inject("GetObject", Meanwhile(rotate), key="files/|jsonl", nth=nth)
    bench.pull()


def test_credentials_that_expire_under_all_workers_at_once_are_loaded_again(
    fresh: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotate(bucket: Bucket) -> None:
        fresh.server.keys = RENEWED
        monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-other-token")

    fresh.server.inject("CreateMultipartUpload", Meanwhile(rotate))
    fresh.push(LARGE)


def test_credentials_that_stay_expired_are_an_auth_error_with_a_hint_and_the_partial_is_kept(bench: Bench) -> None:
    bench.server.inject("GetObject", Answer(400, "ExpiredToken"), key=r"model\.bin", nth=2, times=None)
    trial = bench.pull(fails=AuthError, match="expired")
    assert trial.error is not None
    assert trial.error.hint
    assert list((bench.root / "consumer" / ".bentosync" / "partial").glob("*")) == []  # the undisturbed pull used it


@pytest.mark.parametrize("days", [-400, -1, 1, 400])
def test_a_clock_that_differs_is_corrected_by_the_stores_date(fresh: Bench, days: int) -> None:
    fresh.server.skew = timedelta(days=days)
    trial = fresh.push(LARGE)
    assert not trial.retried
    fresh.server.skew = timedelta(days=days)
    assert not fresh.pull(LARGE).retried


def test_a_store_whose_own_date_does_not_help_is_an_auth_error(bench: Bench) -> None:
    bench.server.inject("GetObject", Answer(403, "RequestTimeTooSkewed"), times=None)
    assert sum(bench.pull(fails=AuthError, match="clock").requests.values()) == 2


# --- permissions ------------------------------------------------------------------------------------------------------


def test_a_pull_needs_no_permission_to_list_or_to_look_at_heads(bench: Bench) -> None:
    for operation in ("ListObjectsV2", "HeadObject", "ListMultipartUploads"):
        bench.server.inject(operation, Answer(403, "AccessDenied"), times=None)
    with pytest.raises(AssertionError, match="never happened"):  # a pull does not even ask
        bench.pull("small")


def test_a_push_works_without_the_permission_to_list_and_says_so(fresh: Bench) -> None:
    fresh.server.inject("ListObjectsV2", Answer(403, "AccessDenied"), times=None)
    trial = fresh.push(LARGE)
    assert "list" in trial.warned


@pytest.mark.parametrize(
    ("operation", "word"),
    [
        ("PutObject", "write|bentosync-probe|large"),
        ("CreateMultipartUpload", "large"),
        ("UploadPart", "large"),
        ("CompleteMultipartUpload", "large"),
    ],
)
def test_a_permission_that_lacks_is_an_auth_error_that_names_the_object(
    fresh: Bench, operation: str, word: str
) -> None:
    fresh.server.inject(operation, Answer(403, "AccessDenied"), times=None)
    trial = fresh.push(LARGE, fails=AuthError, match=word)
    assert not trial.retried
    assert "AccessDenied" in str(trial.error)


def test_a_read_that_is_refused_names_the_bucket_and_the_source_of_the_credentials(bench: Bench) -> None:
    bench.server.inject("GetObject", Answer(403, "AccessDenied"), times=None)
    bench.pull(fails=AuthError, match=r"v1\.jsonl in bucket bench .* env")


def test_a_missing_bucket_is_not_a_missing_model(bench: Bench) -> None:
    bench.server.inject("*", Answer(404, "NoSuchBucket"), times=None)
    bench.pull(fails=NotFound, match="Bucket bench")
    bench.server.inject("*", Answer(404, "NoSuchBucket"), times=None)
    bench.push(SMALL, fails=NotFound, match="Bucket bench", again=False)


def test_a_store_that_repeats_secrets_in_its_messages_does_not_make_us_say_them(bench: Bench) -> None:
    class Echo(Answer):
        def execute(self, call, bucket, page):  # type: ignore[no-untyped-def]
            reply = super().execute(call, bucket, page)
            told = f"The token {call.headers['x-amz-security-token']} of {KEYS.access_key} is malformed".encode()
            return replace(reply, body=reply.body.replace(b"told by the fault server", told))

    bench.server.inject("GetObject", Echo(400, "InvalidToken"), times=None)
    bench.pull(fails=AuthError, match="InvalidToken")


# --- conditions and listings that cannot be trusted -------------------------------------------------------------------


@pytest.mark.parametrize("ignored", ["if-none-match", "if-match"])
def test_a_store_that_ignores_a_condition_takes_no_push_without_single_writer(fresh: Bench, ignored: str) -> None:
    fresh.server.inject("PutObject", Unconditional(), where=lambda call: ignored in call.headers, times=None)
    trial = fresh.push(LARGE, fails=InvalidArgument, match="conditional writes")
    assert trial.error is not None
    assert "--single-writer" in str(trial.error.hint)
    assert "CreateMultipartUpload" not in trial.requests


def test_with_single_writer_it_does_and_warns(fresh: Bench) -> None:
    fresh.server.inject("PutObject", Unconditional(), times=None)
    assert "conditional writes" in fresh.push(LARGE, single_writer=True).warned


def test_a_listing_that_lags_behind_changes_nothing_but_what_is_reused(fresh: Bench) -> None:
    fresh.server.inject("ListObjectsV2", Past(Bucket()), times=None)
    fresh.push(LARGE)


def test_a_listing_that_still_shows_a_deleted_version_finds_the_newest_that_is_there(bench: Bench) -> None:
    """`latest` is gone, and the list names a manifest that is gone too."""
    manifest = bench.server.bucket.objects[f"{PREFIX}models/small/v1.jsonl"]
    stale = bench.server.bucket.snapshot()
    stale.objects[f"{PREFIX}models/small/v2.jsonl"] = manifest
    stale.objects[f"{PREFIX}models/small/v3.jsonl"] = replace(manifest, data=b"")
    del bench.server.bucket.objects[f"{PREFIX}models/small/latest"]
    bench.server.inject("ListObjectsV2", Past(stale), times=None)
    bench.pull("small")


def test_a_listing_in_pages_of_one_finds_everything(bench: Bench) -> None:
    bench.server.page = 1
    del bench.server.bucket.objects[f"{PREFIX}models/small/latest"]
    bench.pull("small")
