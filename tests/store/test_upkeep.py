"""Leftovers of the local store: what is named, what stays, and that nothing anybody uses is removed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bentosync.manifest import encode
from bentosync.manifest.values import Envelope
from bentosync.store.store import Store
from bentosync.store.upkeep import Leftover
from bentosync.tag import Tag
from tests.store.trees import create

DAY = 24 * 3600.0
WEEK = 7 * DAY
ENVELOPE = Envelope("abcdefghij", "0" * 32, "me", "here", "2026-01-01T00:00:00+00:00")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def later(store: Store, seconds: float) -> Store:
    """The same store, with another time of day."""
    return Store(store.home, now_ns=lambda: time.time_ns() + int(seconds * 1e9))


def partial(store: Store, tag: str = "m:v1") -> Path:
    """An interrupted pull."""
    manifest = store.describe(create(store, tag))
    store.delete(tag)
    root = store.layout.partial_dir(manifest.digest)
    (root / "tree").mkdir(parents=True)
    (root / "tree/weights.bin").write_bytes(b"half of it")
    (root / "manifest.jsonl").write_bytes(encode.document(ENVELOPE, manifest))
    return root


def going(store: Store, min_age: float = WEEK) -> list[Leftover]:
    return [one for one in store.leftovers(min_age_seconds=min_age) if one.kept is None]


def staying(store: Store, min_age: float = WEEK) -> dict[str, str | None]:
    return {one.kind: one.kept for one in store.leftovers(min_age_seconds=min_age) if one.kept is not None}


def test_a_store_at_rest_has_nothing_to_remove(store: Store) -> None:
    create(store, "m:v1")
    assert store.leftovers(min_age_seconds=0) == []
    assert later(store, 100 * DAY).leftovers(min_age_seconds=WEEK) == []


def test_looking_writes_nothing_and_needs_no_state_folder(tmp_path: Path) -> None:
    assert Store(tmp_path / "nowhere").leftovers(min_age_seconds=0) == []
    assert not (tmp_path / "nowhere").exists()


def test_an_unfinished_pull_stays_while_it_may_be_resumed(store: Store) -> None:
    root = partial(store)
    assert staying(store) == {"partial": "resumable"}
    (old,) = going(later(store, 8 * DAY))
    assert (old.kind, old.path, old.tag) == ("partial", root, Tag("m", "v1"))
    assert old.size_bytes >= (root / "tree/weights.bin").stat().st_blocks * 512 > 0
    assert store.clear(old)
    assert not root.exists()
    assert list(store.layout.trash.iterdir()) == []


def test_a_pull_in_flight_is_never_cleared_however_old_it_looks(store: Store) -> None:
    root = partial(store)
    (old,) = going(store, 0)
    with store.lock(Tag("m", "v1"), seconds=1):
        assert staying(store, 0) == {"partial": "in use"}
        assert not store.clear(old)
    assert root.is_dir()
    assert store.clear(old)


def test_a_pull_of_another_process_counts_as_in_flight(store: Store) -> None:
    partial(store)
    script = (
        "import sys; from pathlib import Path; from bentosync.store.store import Store; from bentosync.tag import Tag\n"
        "with Store(Path(sys.argv[1])).lock(Tag('m', 'v1'), seconds=1): print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(store.home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        assert staying(store, 0) == {"partial": "in use"}
        process.stdin.close()
    assert [one.kind for one in going(store, 0)] == ["partial"]


def test_a_partial_whose_manifest_is_torn_goes_by_age(store: Store) -> None:
    root = partial(store)
    (root / "manifest.jsonl").write_bytes(b"{torn")
    assert going(store) == []
    (old,) = going(later(store, 8 * DAY))
    assert old.tag is None
    assert store.clear(old)


def test_a_staged_tree_stays_while_its_maker_lives(store: Store) -> None:
    tree = store.staging()
    assert going(later(store, 100 * DAY)) == []
    store.drop_staging(tree)
    (store.layout.staging / "dead/tree").mkdir(parents=True)
    (store.layout.staging / "dead/lock").touch()
    (dead,) = going(store)
    assert dead.kind == "staging"
    assert store.clear(dead)
    assert list(store.layout.staging.iterdir()) == []


def test_trash_goes_but_not_the_old_life_of_a_version_that_is_missing(store: Store) -> None:
    create(store, "m:v1")
    (store.layout.trash / "garbage/inside").mkdir(parents=True)
    (store.layout.trash / "swap-gone:v1-0123456789abcdef").mkdir()
    (store.layout.trash / "swap-m:v1-0123456789abcdef").mkdir()
    found = going(store)
    assert {one.path.name for one in found} == {"garbage", "swap-m:v1-0123456789abcdef"}
    assert all(store.clear(one) for one in found)
    assert [path.name for path in store.layout.trash.iterdir()] == ["swap-gone:v1-0123456789abcdef"]


def test_digests_of_versions_that_are_gone_and_scratch_files_go(store: Store) -> None:
    create(store, "m:v1")
    records = store.layout.record_path(Tag("m", "v1")).parent
    for name in ("gone.record", "v1.record.123.456"):
        (records / name).write_bytes(b"x")
    (store.layout.state / f"owner.{'0' * 32}").write_bytes(b"x")
    assert going(store) == []
    found = going(later(store, 2 * 3600))
    assert sorted((one.kind, one.path.name) for one in found) == [
        ("record", "gone.record"),
        ("scratch", f"owner.{'0' * 32}"),
        ("scratch", "v1.record.123.456"),
    ]
    assert all(store.clear(one) for one in found)
    assert store.record(Tag("m", "v1")) is not None


def test_clearing_what_is_gone_already_is_fine(store: Store) -> None:
    partial(store)
    (old,) = going(store, 0)
    assert store.clear(old)
    assert store.clear(old)


def test_a_link_in_the_state_folder_is_removed_and_not_followed(store: Store, tmp_path: Path) -> None:
    create(store, "m:v1")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"mine")
    store.layout.quarantine.mkdir()
    (store.layout.quarantine / "link").symlink_to(precious)
    (link,) = going(store, 0)
    assert store.clear(link)
    assert (precious / "file").read_bytes() == b"mine"
    assert not os.path.lexists(store.layout.quarantine / "link")
