"""Stamps of use, pins, and what the kernel says is open."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bentosync.errors import NotFound
from bentosync.store import open_files
from bentosync.store.bentos import bentos
from bentosync.store.store import Store
from bentosync.tag import Tag
from tests.store.trees import create

TAG = Tag("m", "v1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def test_a_use_is_remembered_and_a_later_one_takes_its_place(store: Store) -> None:
    create(store, "m:v1")
    assert store.last_used(TAG) is None
    store.used(TAG)
    path = store.layout.use_path(TAG, "used")
    os.utime(path, (1000.0, 1000.0))
    assert store.last_used(TAG) == 1000.0
    store.used(TAG)
    assert abs((store.last_used(TAG) or 0.0) - time.time()) < 60


def test_a_version_nobody_could_prune_gets_no_stamp(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    (store.layout.models / "m/v1").mkdir(parents=True)
    store.used(TAG)
    assert not store.layout.state.exists()


def test_versions_whose_names_look_like_ours_do_not_mix(store: Store) -> None:
    for version in ("v1", "v1.pin", "v1.used"):
        create(store, f"m:{version}")
    store.pin(Tag("m", "v1"), keep=True)
    store.used(Tag("m", "v1.pin"))
    assert [store.pinned(Tag("m", version)) for version in ("v1", "v1.pin", "v1.used")] == [True, False, False]
    assert [store.last_used(Tag("m", version)) is None for version in ("v1", "v1.pin", "v1.used")] == [
        True,
        False,
        True,
    ]


def test_pins_come_off_and_go_with_the_version(store: Store) -> None:
    create(store, "m:v1")
    store.pin(TAG, keep=True)
    store.pin(TAG, keep=False)
    assert not store.pinned(TAG)
    store.pin(TAG, keep=True)
    store.used(TAG)
    store.delete("m:v1")
    create(store, "m:v1")
    assert not store.pinned(TAG)
    assert store.last_used(TAG) is None
    with pytest.raises(NotFound):
        store.pin(Tag("m", "v2"), keep=True)


def test_open_files_of_other_processes_are_seen(tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/file").write_bytes(b"x" * 10_000)
    assert not open_files.look().any_below(tmp_path / "tree")
    script = "import sys; file = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(tmp_path / "tree/sub/file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        assert open_files.look().any_below(tmp_path / "tree")
        process.stdin.close()
    assert not open_files.look().any_below(tmp_path / "tree")


def test_a_mapping_outlives_its_descriptor_and_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10_000)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # Python's mmap keeps a descriptor of its own; a bare `/proc` with the mapping alone must do.
    proc = tmp_path / "proc"
    (proc / "1/fd").mkdir(parents=True)
    (proc / "1/maps").write_bytes(Path("/proc/self/maps").read_bytes())
    assert open_files.look(proc).any_below(tmp_path)
    mapped.close()


def test_processes_that_hide_are_counted(tmp_path: Path) -> None:
    for process in ("1", "2"):
        (tmp_path / process).mkdir()
        (tmp_path / process / "maps").write_bytes(b"")
    (tmp_path / "1/fd").mkdir()
    (tmp_path / "2/fd").write_bytes(b"not a folder, so it cannot be listed")
    assert open_files.look(tmp_path).unseen == 1
    assert open_files.look(tmp_path / "nowhere").unseen is None


def test_bentos_name_their_models_in_both_of_bentomls_places(tmp_path: Path) -> None:
    for name, text in {
        "a/v1": "models: [{tag: 'm:v1'}]",
        "b/v1": "services: [{models: [{tag: 'm:latest'}]}]",
        "c/v1": "models: [{tag: 'other:v1'}]",
        "d/v1": "{broken",
        "e/v1": "- a list",
    }.items():
        (tmp_path / "bentos" / name).mkdir(parents=True)
        (tmp_path / "bentos" / name / "bento.yaml").write_text(text)
    found = {bento.tag: bento for bento in bentos(tmp_path)}
    assert {tag for tag, bento in found.items() if bento.uses(TAG)} == {"a:v1", "b:v1"}
    assert {tag for tag, bento in found.items() if bento.models is None} == {"d:v1", "e:v1"}
