"""Selections and plain folders: what was fetched once is never fetched again, and half a version never shows."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from bentosync import aio
from bentosync.errors import Conflict, InvalidArgument, NotFound
from bentosync.sync.checkout import CheckedOut
from bentosync.sync.selection import Selection
from bentosync.tag import Tag
from tests.sync.scene import FILES, Scene, tree_of

BIG = len(FILES["model.bin"])
SECOND = len(FILES["sub/second.bin"])


def checkout(scene: Scene, tag: str = "m:v1", **how: object) -> CheckedOut:
    settings = scene.settings("consumer")
    return asyncio.run(aio.checkout(tag, settings=settings, on_event=scene.seen.append, **how))  # type: ignore[arg-type]


def pushed(scene: Scene) -> Scene:
    scene.create("m:v1")
    scene.push("m:v1")
    return scene


def test_a_selection_is_fetched_alone_and_the_version_does_not_show(scene: Scene) -> None:
    out = checkout(pushed(scene), include=["sub/*"])
    assert (out.complete, out.finished.files, out.finished.moved_bytes) == (False, 1, SECOND)
    assert (out.path / "sub/second.bin").read_bytes() == FILES["sub/second.bin"]
    assert scene.store("consumer").list() == []
    mark = json.loads((out.path.parent / "selection.json").read_text())
    assert mark == {"files": ["sub/second.bin"], "format": 1}


def test_completing_later_fetches_only_the_rest(scene: Scene) -> None:
    checkout(pushed(scene), include=["sub/*"])
    again = checkout(scene, include=["sub/*"])
    assert (again.finished.moved_bytes, again.finished.reused_bytes) == (0, SECOND)
    both = checkout(scene, include=["*.bin"])
    assert (both.finished.moved_bytes, both.finished.reused_bytes) == (BIG, SECOND)
    pulled = scene.pull("m:v1")
    assert scene.finished().reused_bytes == BIG + SECOND
    assert tree_of(pulled) == tree_of(scene.store("publisher").get("m:v1"))
    assert list(scene.store("consumer").layout.partials.iterdir()) == []


def test_only_the_selection_takes_disk(folder: Scene) -> None:
    out = checkout(pushed(folder), include=["small.txt", "sub/*"])
    used = sum(path.stat().st_blocks * 512 for path in out.path.rglob("*") if path.is_file())
    assert SECOND <= used < SECOND + (1 << 20)
    assert not (out.path / "model.bin").exists()


def test_a_whole_version_goes_to_the_store_and_to_the_folder(scene: Scene, tmp_path: Path) -> None:
    out = checkout(pushed(scene), to=tmp_path / "plain")
    assert out.complete
    published = tree_of(scene.store("consumer").get("m:v1"))
    assert {path: what for path, what in published.items() if what is not None} == {
        path.relative_to(tmp_path / "plain").as_posix(): (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        for path in (tmp_path / "plain").rglob("*")
        if path.is_file()
    }
    assert out.copied is not None
    assert out.copied.copied_bytes + out.copied.shared_bytes == out.finished.total_bytes


def test_doing_it_again_copies_nothing(folder: Scene, tmp_path: Path) -> None:
    pushed(folder)
    checkout(folder, to=tmp_path / "plain", include=["*.bin"])
    before = {path: path.stat().st_ino for path in (tmp_path / "plain").rglob("*")}
    again = checkout(folder, to=tmp_path / "plain", include=["*.bin"])
    assert again.copied is not None
    assert (again.copied.present_bytes, again.copied.copied_bytes) == (BIG + SECOND, 0)
    assert {path: path.stat().st_ino for path in (tmp_path / "plain").rglob("*")} == before


def test_files_of_the_user_are_not_replaced_without_force(folder: Scene, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "small.txt").write_bytes(b"precious")
    (plain / "mine.txt").write_bytes(b"mine")
    pushed(folder)
    with pytest.raises(Conflict, match="holds other bytes"):
        checkout(folder, to=plain)
    assert (plain / "small.txt").read_bytes() == b"precious"
    checkout(folder, to=plain, force=True)
    assert (plain / "small.txt").read_bytes() == FILES["small.txt"]
    assert (plain / "mine.txt").read_bytes() == b"mine"
    assert not [path for path in plain.rglob("*") if path.name.startswith(".bentosync")]


def test_a_link_in_the_folder_leads_nowhere(folder: Scene, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "plain/sub").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidArgument, match="through a link"):
        checkout(pushed(folder), to=tmp_path / "plain")
    assert os.listdir(tmp_path / "outside") == []


def test_a_version_the_store_has_is_not_fetched(folder: Scene, tmp_path: Path) -> None:
    pushed(folder).pull("m:v1")
    out = checkout(folder, to=tmp_path / "plain", include=["small.txt"])
    assert (out.finished.outcome, out.finished.moved_bytes) == ("up-to-date", 0)
    assert os.listdir(tmp_path / "plain") == ["small.txt"]


def test_a_selection_of_nothing_names_what_there_is(folder: Scene) -> None:
    with pytest.raises(NotFound) as caught:
        checkout(pushed(folder), include=["*.onnx"])
    assert "empty.txt" in str(caught.value.hint)


def test_changes_in_the_folder_do_not_reach_the_store(folder: Scene, tmp_path: Path) -> None:
    checkout(pushed(folder), to=tmp_path / "plain")
    with (tmp_path / "plain/model.bin").open("r+b") as file:
        file.write(b"changed")
    assert folder.store("consumer").check(Tag("m", "v1"), strength="full") == []


@pytest.mark.parametrize(
    ("include", "exclude", "taken"),
    [
        ((), (), {"a.json", "sub/b.json", "w.bin"}),
        (("*.json",), (), {"a.json", "sub/b.json"}),
        (("sub/*",), (), {"sub/b.json"}),
        ((), ("*.bin",), {"a.json", "sub/b.json"}),
        (("*.json", "*.bin"), ("sub/*",), {"a.json", "w.bin"}),
        (("A.JSON",), (), set()),
    ],
)
def test_patterns_choose_by_path(include: tuple[str, ...], exclude: tuple[str, ...], taken: set[str]) -> None:
    selection = Selection(include, exclude)
    assert {path for path in ("a.json", "sub/b.json", "w.bin") if selection.takes(path)} == taken
