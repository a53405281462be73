"""C1, C2: many processes pull one version into one store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.bench import LARGE, Bench
from tests.faults.puller import processes, start, wait_until
from tests.servers.faulty.actions import Stall


@pytest.fixture
def large(bench: Bench) -> Iterator[Bench]:
    """`large:v1`, 17 MiB, is on the server too."""
    bench.server.bucket.become(bench.large)
    bench.server.forget()
    yield bench


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def fetched(bench: Bench) -> float:
    """Body bytes that went over the network, divided by those of the model."""
    key = next(key for key in bench.large.objects if key.endswith("large.bin"))
    folder = key.rsplit("/", 1)[0]
    size = sum(len(stored.data) for key, stored in bench.large.objects.items() if key.startswith(folder))
    return bench.server.sent_bytes["GetObject"] / size


@pytest.mark.parametrize("count", [2, 4, 16])
def test_many_processes_fetch_a_version_once(
    large: Bench, tmp_path_factory: pytest.TempPathFactory, count: int, record_property: pytest.RecordProperty
) -> None:
    reports = tmp_path_factory.mktemp("reports")
    context = processes()
    pullers = [
        start(context, large.root / "consumer", large.server.url, str(LARGE), environment(), reports / str(number))
        for number in range(count)
    ]
    for puller in pullers:
        puller.join(90)
    said = [json.loads((reports / str(number)).read_text()) for number in range(count)]
    assert [report.get("outcome") for report in said].count("done") == 1, said
    assert [report.get("outcome") for report in said].count("up-to-date") == count - 1, said
    record_property("bytes_ratio", fetched(large))
    print(f"{count} processes fetched {fetched(large):.4f} times the model")
    assert fetched(large) <= 1.1
    large.pull(LARGE)


def test_when_the_first_puller_is_killed_another_takes_over_and_goes_on(
    large: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    reports = tmp_path_factory.mktemp("reports")
    home = large.root / "consumer"
    context = processes()
    stall = large.server.inject("GetObject", Stall(at=3 << 20), key=r"large\.bin", times=None)
    first = start(context, home, large.server.url, str(LARGE), environment(), reports / "first")
    wait_until(lambda: stall.fired >= 3)
    others = [
        start(context, home, large.server.url, str(LARGE), environment(), reports / str(number)) for number in range(3)
    ]
    first.kill()
    first.join()
    large.server.heal()
    for other in others:
        other.join(90)
    said = [json.loads((reports / str(number)).read_text()) for number in range(3)]
    assert sorted(report.get("outcome", "") for report in said) == ["done", "up-to-date", "up-to-date"], said
    assert not Path(reports / "first").exists()
    large.pull(LARGE)
