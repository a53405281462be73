"""R1-R4, S21: objects and documents on the store that are not what they should be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bentosync.errors import IntegrityError
from tests.blocks import content
from tests.faults.bench import PREFIX, Bench
from tests.servers.faulty.actions import Action, Answer, Elsewhere, Flip, Meanwhile
from tests.servers.faulty.call import Call, Reply

MODEL = r"model\.bin"


class Resized(Action):
    """The object as it would be with another size."""

    def __init__(self, by: int) -> None:
        self._by = by

    def execute(self, call: Call, bucket, page: int) -> Reply:  # type: ignore[no-untyped-def]
        then = bucket.snapshot()
        data = then.objects[call.key].data
        then.put(call.key, data[: self._by] if self._by < 0 else data + b"x" * self._by)
        return super().execute(call, then, page)


@pytest.mark.parametrize("by", [-1, -5_000_000, 1, 5_000_000])
def test_an_object_that_is_shorter_is_named_with_both_sizes_and_a_longer_one_is_cut(bench: Bench, by: int) -> None:
    bench.server.inject("*", Resized(by), key=MODEL, times=None)
    if by < 0:
        bench.pull(fails=IntegrityError, match=rf"{MODEL}.*\d+ bytes|shorter")
    else:
        bench.pull()


def test_an_object_that_is_missing_is_named(bench: Bench) -> None:
    bench.server.inject("*", Answer(404, "NoSuchKey"), key=MODEL, times=None)
    bench.pull(fails=IntegrityError, match=f"{MODEL} is missing")


@pytest.mark.parametrize("at", [0, 4_000_000, -1])
def test_an_object_damaged_at_rest_is_named_and_the_other_files_are_kept(bench: Bench, at: int) -> None:
    bench.server.inject("GetObject", Flip(at), key=MODEL, times=None)
    trial = bench.pull(fails=IntegrityError, match=MODEL)
    assert trial.requests["GetObject"] <= 12


def test_an_object_whose_body_is_an_error_of_s3_is_data(bench: Bench) -> None:
    text = b"<Error><Code>AccessDenied</Code><Message>not an error</Message></Error>" * 2000
    bench.create("xml:v1", {"looks-like-an-error.xml": text, "more.bin": content(5, 100_000)})
    bench.push("xml:v1")
    bench.pull("xml:v1")


# --- R2-R4: documents that are not what they should be ----------------------------------------------------------------

BROKEN = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "not JSON": lambda data: b"<Error><Code>AccessDenied</Code></Error>",
    "a newer format": lambda data: data.replace(b'"format":1', b'"format":99', 1),
    "one byte less": lambda data: data[:-1],
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("times", [1, None])
def test_a_broken_manifest_is_refused_unless_it_was_broken_on_its_way(
    bench: Bench, how: str, times: int | None
) -> None:
    class Broken(Elsewhere):
        def change(self, call, reply):  # type: ignore[no-untyped-def]
            return replace(reply, body=BROKEN[how](bytes(reply.body)))

    key = f"{PREFIX}models/small/v1.jsonl"
    bench.server.inject("GetObject", Broken(key), key=r"v1\.jsonl$", times=times)
    if times is None:
        bench.pull(fails=IntegrityError, match=r"manifest|v1\.jsonl")
    else:
        bench.pull()


def test_another_models_valid_manifest_is_refused(bench: Bench) -> None:
    other = f"{PREFIX}models/other/v0.jsonl"
    bench.server.inject("GetObject", Elsewhere(other), key=r"small/v1\.jsonl$", times=None)
    bench.pull(fails=IntegrityError, match="other|small")


def test_a_pointer_moved_back_does_not_pass_a_pin(bench: Bench) -> None:
    wrong = "b3:" + "0" * 64
    with pytest.raises(AssertionError, match="without faults"):  # a wrong pin stays wrong
        bench.server.inject("GetObject", Meanwhile(lambda bucket: None), key="jsonl")
        bench.pull(f"small:v1@{wrong}", fails=IntegrityError, match="was asked for")
