from __future__ import annotations

from pathlib import Path

from bentosync.loader.memory import available_bytes

GIB = 1 << 30


def system(root: Path, *, group: str = "/") -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    (root / "proc/self/cgroup").write_text(f"0::{group}\n")
    return root


def limit(root: Path, group: str, *, most: str, used: int, droppable: int = 0) -> None:
    folder = root / "sys/fs/cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {droppable}\n")


def test_without_a_limit_it_is_what_the_system_says(tmp_path: Path) -> None:
    root = system(tmp_path)
    limit(root, "", most="max", used=GIB)
    assert available_bytes(root) == 8 * GIB


def test_a_container_has_what_its_limit_leaves_and_what_it_can_drop(tmp_path: Path) -> None:
    root = system(tmp_path, group="/pod/app")
    limit(root, "pod/app", most=str(4 * GIB), used=3 * GIB, droppable=GIB // 2)
    assert available_bytes(root) == GIB + GIB // 2


def test_the_tightest_group_above_counts(tmp_path: Path) -> None:
    root = system(tmp_path, group="/pod/app")
    limit(root, "pod/app", most=str(4 * GIB), used=GIB)
    limit(root, "pod", most=str(2 * GIB), used=GIB)
    assert available_bytes(root) == GIB


def test_where_nobody_tells_it_is_not_known(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) is None
