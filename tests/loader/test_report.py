from __future__ import annotations

from dataclasses import replace

import pytest

from bentosync.loader.report import Report, Stages

REPORT = Report(
    label="m:v1",
    device="cuda:0",
    path="page-cache",
    files=2,
    tensors=7,
    bytes=3 << 30,
    read_bytes=(3 << 30) + 2048,
    overread_bytes=2048,
    seconds=1.0,
    stages=Stages(read=3.0, check=0.1, copy=0.2, slot=0.4, room=0.05),
    readers=8,
    ring_bytes=256 << 20,
    pinned_bytes=256 << 20,
    device_peak_bytes=3 << 30,
    verified="trusted",
)


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        (Stages(read=3), "reading the files"),
        (Stages(read=1, slot=2), "copies to the device"),
        (Stages(read=1, copy=0.7, slot=0.7), "copies to the device"),
        (Stages(check=2, read=1), "checksums"),
        (Stages(room=2), "device memory"),
    ],
)
def test_a_load_is_bound_by_where_its_readers_spent_most_time(stages: Stages, says: str) -> None:
    assert replace(REPORT, stages=stages).bound_by == says


def test_a_report_prints_as_the_few_lines_a_person_wants() -> None:
    assert str(REPORT).splitlines() == [
        "m:v1: 7 tensors, 3.00 GiB from 2 files on cuda:0 in 1.000 s (3.22 GB/s)",
        "path page-cache, verify trusted, bound by reading the files",
        "seconds (8 readers): open 0.000 read 3.000 check 0.100 copy 0.200 slot 0.400 room 0.050 hand_out 0.000",
        "read 3.00 GiB (overread 2.00 KiB), checked 0 B, ring 256.00 MiB (pinned 256.00 MiB), device peak 3.00 GiB",
    ]


def test_a_mapped_load_claims_no_speed() -> None:
    lines = str(replace(REPORT, path="mapped")).splitlines()
    assert len(lines) == 2
    assert "GB/s" not in lines[0]
    assert "when they are touched" in lines[1]


def test_stages_add_up() -> None:
    assert Stages(read=1, open=2) + Stages(read=3) == Stages(read=4, open=2)
