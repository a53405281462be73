"""Every script runs, in a tiny size: what they measure is not looked at, that they still work is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bentosync.native import receiving

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    shutil.which("c++") is None, reason="NOT TESTED: no C++ compiler; run scripts/bootstrap"
)


def script(name: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"perf.{name}", *words], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("perf") / "pull.jsonl"
    script("bench_pull", "--size", "2MiB", "--pairs", "1", "--rivals", "--durable", "yes", "--out", str(out))
    return out


def test_a_pull_is_measured_over_http_and_tls_with_the_machines_facts(pulled: Path) -> None:
    first, *runs = lines(pulled)
    assert {"cpu", "cores", "kernel", "python", "openssl", "commit", "versions"} <= set(first["machine"])
    ours = [run for run in runs if run["arm"] == "bentosync"]
    assert [run["scheme"] for run in ours] == ["http", "https"]
    assert all(run["user_seconds"] > 0 and run["rss_bytes"] > 0 for run in runs)
    assert [run["scheme"] for run in runs if run["arm"] == "bentosync, not compiled"] == ["https"]


def test_a_push_is_measured_with_and_without_remembered_digests(tmp_path: Path) -> None:
    out = tmp_path / "push.jsonl"
    script("bench_push", "--size", "2MiB", "--pairs", "1", "--rivals", "--out", str(out))
    arms = {(run["scheme"], run["arm"]) for run in lines(out)[1:]}
    assert arms == {(scheme, arm) for scheme in ("http", "https") for arm in ("bentosync", "bentosync, digests known")}


def test_small_files_are_measured_both_ways_beside_a_rival(tmp_path: Path) -> None:
    out = tmp_path / "small.jsonl"
    table = script("bench_small", "--small", "30", "--pairs", "1", "--rivals", "s5cmd", "--schemes", "http",
                   "--durable", "no", "--out", str(out))  # fmt: skip
    ways = {(run["way"], run["arm"]) for run in lines(out)[1:] if "seconds" in run}
    assert {("pull", "bentosync"), ("pull", "s5cmd"), ("push", "bentosync"), ("push", "s5cmd")} <= ways
    assert "files/s" in table


def test_a_baseline_compared_with_itself_is_the_same(pulled: Path) -> None:
    assert " same |" in script("compare", str(pulled), str(pulled))


def test_a_chart_is_drawn(pulled: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the bench extra")
    script("chart", str(pulled), "--out", str(tmp_path / "chart.svg"))
    assert (tmp_path / "chart.svg").stat().st_size > 1000


@pytest.mark.skipif(receiving.openssl_version() is None, reason="no compiled core, or no OpenSSL 3")
def test_receiving_alone_is_measured_for_each_number_of_threads(tmp_path: Path) -> None:
    words = ["--size", "16MiB", "--rounds", "1", "--values", "1", "3", "--weathers", "near", "--folder", str(tmp_path)]
    rows = [json.loads(line) for line in script("exp_receive", *words).splitlines()]
    assert [(row["tls"], row["threads"]) for row in rows] == [(False, 1), (False, 3), (True, 1), (True, 3)]
    assert all(row["cpu_s_per_gib"] > 0 for row in rows)


def test_rivals_are_listed() -> None:
    assert "s3torchconnector" in script("rivals")


def test_a_kill_costs_what_is_promised_and_no_byte_is_wrong_afterwards() -> None:
    *kills, files = map(
        json.loads, script("kill_resume", "--size", "96MiB", "--shards", "2", "--kills", "5").splitlines()
    )
    ways = [row for row in kills if "promised_mib" in row]
    assert [row["operation"] for row in ways] == ["push", "pull"]
    assert all(row["kept"] for row in ways)
    assert files["equal"] == files["files"] > 2


def test_nothing_to_do_is_measured_on_a_hollow_model_and_moves_none_of_its_bytes(tmp_path: Path) -> None:
    out = tmp_path / "nothing.jsonl"
    words = ["--size", "64MiB", "--hollow", "--runs", "1", "--schemes", "http", "--out", str(out)]
    script("bench_nothing", *words, "--folder", str(tmp_path))
    ours = [row for row in lines(out) if row["case"] in ("pull", "push")]
    assert len(ours) == 2
    assert all(row["body_bytes"] < 1 << 20 for row in ours)
    assert "beyond ms" in script("rows", str(out))


@pytest.mark.long
def test_memory_is_measured_over_64_connections(tmp_path: Path) -> None:
    out = tmp_path / "memory.jsonl"
    script("bench_memory", "--sizes", "256MiB", "--folder", str(tmp_path), "--out", str(out))
    assert {(row["way"], row["native"]) for row in lines(out)} == {("pull", "auto"), ("pull", "off"), ("push", "auto")}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exp_part_size", ["--values", "8"]),
        ("exp_connections", ["--values", "4", "--weathers", "20 ms away", "503 above 8"]),
        ("exp_buffer", ["--values", "256"]),
        ("exp_threads", ["--values", "0", "2", "--weathers", "near", "--schemes", "https"]),
    ],
)
def test_an_experiment_prints_its_answer(name: str, words: list[str]) -> None:
    assert "fastest with" in script(name, "--size", "2MiB", "--rounds", "1", *words)


@pytest.mark.long
def test_the_controller_is_compared_with_fixed_numbers() -> None:
    words = ["--size", "2MiB", "--rounds", "1", "--values", "4", "--weathers", "503 above 8"]
    assert json.loads(script("exp_control", *words))["best_fixed"] == "4"
