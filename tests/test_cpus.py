"""The count of CPUs: the affinity mask, and the quota of the control group and of those above it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bentosync import cpus
from tests.tally import skip_or_fail

HERE = len(os.sched_getaffinity(0))
V1 = Path("/sys/fs/cgroup/cpu")


def machine(root: Path, groups: str, **files: str) -> Path:
    """A root whose process is in `groups` and whose control files are `files` (`__` stands for `/`, `_` for itself)."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("quota", "count"),
    [("max 100000", 64), ("200000 100000", 2), ("250000 100000", 3), ("50000 100000", 1), ("9900000 100000", 64)],
)
def test_a_quota_of_version_2_bounds_the_count_rounded_up(tmp_path: Path, quota: str, count: int) -> None:
    assert cpus.usable(machine(tmp_path, "0::/\n", **{"cpu.max": quota})) == count


@pytest.mark.usefixtures("many")
def test_the_smallest_quota_on_the_way_up_holds(tmp_path: Path) -> None:
    root = machine(
        tmp_path, "0::/pods/one/container\n",
        **{"pods__cpu.max": "800000 100000", "pods__one__cpu.max": "300000 100000",
           "pods__one__container__cpu.max": "max 100000"},
    )  # fmt: skip
    assert cpus.usable(root) == 3


@pytest.mark.usefixtures("many")
def test_in_a_container_the_hosts_path_is_not_there_and_the_top_counts(tmp_path: Path) -> None:
    assert cpus.usable(machine(tmp_path, "0::/../../elsewhere\n", **{"cpu.max": "400000 100000"})) == 4
    (tmp_path / "proc/self/cgroup").write_text("0::/kubepods/burstable/pod1/abc\n")
    assert cpus.usable(tmp_path) == 4


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(("quota", "count"), [("-1", 64), ("150000", 2), ("1000", 1)])
@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1_bounds_the_count(tmp_path: Path, folder: str, quota: str, count: int) -> None:
    groups = f"11:memory:/box\n4:{folder}:/box\n1:name=systemd:/\n0::/\n"
    files = {f"{folder}__box__cpu.cfs_quota_us": quota, f"{folder}__box__cpu.cfs_period_us": "100000"}
    assert cpus.usable(machine(tmp_path, groups, **files)) == count


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("text", ["", "max", "x y", "100 0", "-5 100", "1 2 3", "1e5 100"])
def test_a_control_file_that_makes_no_sense_bounds_nothing(tmp_path: Path, text: str) -> None:
    assert cpus.usable(machine(tmp_path, "0::/\n", **{"cpu.max": text})) >= 1


def test_without_control_groups_the_mask_decides(tmp_path: Path) -> None:
    assert cpus.usable(tmp_path) == HERE
    (one, *_) = os.sched_getaffinity(0)
    script = "from bentosync import cpus; print(cpus.usable())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {one}),
    )  # fmt: skip
    assert done.stdout == "1\n"


@pytest.fixture
def limited() -> Iterator[Path]:
    """A real control group with a quota of 0.7 CPUs."""
    group = V1 / f"bentosync-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text("70000")
    except OSError as error:
        skip_or_fail(f"no control group can be made ({error})") if V1.is_dir() else pytest.skip(f"{error}")
    yield group
    group.rmdir()


@pytest.mark.skipif(HERE < 2, reason="one CPU is one CPU")
def test_a_real_control_group_bounds_the_count(limited: Path) -> None:
    script = (
        f"import pathlib, os; pathlib.Path({str(limited / 'cgroup.procs')!r}).write_text(str(os.getpid()));"
        "from bentosync import cpus; from bentosync.formats.archive import compressing;"
        "print(cpus.usable(), compressing.cores())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1 1\n"
