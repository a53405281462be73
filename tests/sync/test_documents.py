from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentosync.errors import UnsafeInput
from bentosync.sync.documents import Pointer, PushRecord

PIN = "b3:" + "ab" * 32
POINTER = Pointer("2026-11-22T10:00:00+00:00", PIN, "v1")
RECORD = PushRecord(
    "q3k7wzx2ab", "v1", "box", "owner", "2026-11-22T10:00:00+00:00", "2026-11-22T10:00:00+00:00", (("a", 1), ("b", 0))
)


def test_a_pointer_survives_encoding() -> None:
    assert Pointer.decode(POINTER.encode(), key="k", name="m") == POINTER


def test_a_push_record_survives_encoding() -> None:
    assert PushRecord.decode(RECORD.encode(), key="k") == RECORD


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"created":"x","manifest":"b3:00","version":"v1"}',
        b'{"created":"x","manifest":1,"version":"v1"}',
        json.dumps({"created": "x", "manifest": PIN, "version": "../../etc"}).encode(),
        json.dumps({"created": "x", "manifest": PIN, "version": "v1\n"}).encode(),
        json.dumps({"created": "x" * 300, "manifest": PIN, "version": "v1"}).encode(),
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_hostile_pointer_is_refused_and_named(data: bytes) -> None:
    with pytest.raises(UnsafeInput, match="models/m/latest"):
        Pointer.decode(data, key="models/m/latest", name="m")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"files": "a"},
        {"files": [["a", -1]]},
        {"files": [["a", True]]},
        {"files": [["a", 1.5]]},
        {"files": [[1, 1]]},
        {"files": [["a"]]},
        {"owner": None},
        {"push": 7},
    ],
)
def test_a_hostile_push_record_is_refused_and_named(change: dict[str, object]) -> None:
    value = json.loads(RECORD.encode()) | change
    with pytest.raises(UnsafeInput, match="the-key"):
        PushRecord.decode(json.dumps(value).encode(), key="the-key")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_raise_anything_else(data: bytes) -> None:
    for decode in (lambda d: Pointer.decode(d, key="k", name="m"), lambda d: PushRecord.decode(d, key="k")):
        with contextlib.suppress(UnsafeInput):
            decode(data)
