"""What a partial makes of leftovers; how it fills is tested with the downloads (tests/transfer)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bentosync.errors import Conflict
from bentosync.formats.digester import FileDigester
from bentosync.manifest import build
from bentosync.manifest.values import Manifest
from bentosync.store.partial import Partial
from tests.blocks import content

FILES = {"model.yaml": b"name: m\n", "sub/weights.bin": content(1, 100_000), "run.sh": content(2, 70_000)}


@pytest.fixture
def manifest() -> Manifest:
    entries = []
    for path, data in FILES.items():
        digester = FileDigester(path, len(data), path == "run.sh")
        digester.update(data)
        entries.append(digester.finish())
    return build.compose(
        name="m", version="v1", created="2026-11-22T10:00:00+00:00", module="", labels={},
        files=entries, directories=["empty/inner"], read=lambda path: FILES[path],
    )  # fmt: skip


def fill(partial: Partial) -> None:
    for file in partial.files:
        fd = file.open()
        file.write(fd, 0, memoryview(FILES[file.entry.path]))
        os.close(fd)


def contents(tree: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(tree).as_posix(): path.read_bytes() if path.is_file() else None for path in tree.rglob("*")
    }


def test_what_the_manifest_does_not_name_is_removed(tmp_path: Path, manifest: Manifest) -> None:
    """Killed right after two folders were exchanged, a replacement leaves the replaced version in the partial."""
    tree = tmp_path / "partial" / "tree"
    for path in ("other.bin", "sub/other.bin", "gone/deep/other.bin", "model.yaml/other.bin", "sub/weights.bin"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(b"an older life")
    (tree / "empty").write_bytes(b"a file where a folder belongs")
    (tree / "run.sh").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_bytes(b"not ours")
    (tree / "link").symlink_to(tmp_path)
    (tree / "sub/weights.bin").chmod(0o755)
    partial = Partial(tmp_path / "partial", manifest)
    partial.prepare(b"document", strong=False)
    fill(partial)
    finished = partial.finish()
    partial.close()
    assert contents(finished) == {**FILES, "sub": None, "empty": None, "empty/inner": None}
    assert finished.joinpath("run.sh").stat().st_mode & 0o100
    assert not finished.joinpath("sub/weights.bin").stat().st_mode & 0o100
    assert (tmp_path / "outside").read_bytes() == b"not ours"


def test_a_tree_that_another_process_took_is_not_finished(tmp_path: Path, manifest: Manifest) -> None:
    """Where locks do nothing: somebody else published the tree that both filled, and a third one began anew."""
    mine = Partial(tmp_path / "partial", manifest)
    mine.prepare(b"document", strong=False)
    fill(mine)
    mine.tree.rename(tmp_path / "published")
    theirs = Partial(tmp_path / "partial", manifest)
    (tmp_path / "partial" / "bitmap").unlink()
    theirs.prepare(b"document", strong=False)
    with pytest.raises(Conflict, match="not the folder any more"):
        mine.finish()
    mine.close()
    theirs.close()


def prepared(root: Path, manifest: Manifest) -> Partial:
    partial = Partial(root, manifest)
    partial.prepare(b"document", strong=False)
    return partial


def test_of_two_that_filled_one_tree_one_gets_it_and_nobody_publishes_what_he_did_not_prove(
    tmp_path: Path, manifest: Manifest
) -> None:
    """Where locks do nothing: the first one's replacement leaves the old life of the version under the name `tree`."""
    mine, theirs = prepared(tmp_path / "partial", manifest), prepared(tmp_path / "partial", manifest)
    fill(mine)
    fill(theirs)
    taken = mine.finish()
    old = tmp_path / "partial" / "tree"
    old.mkdir()
    for path, data in FILES.items():
        (old / path).parent.mkdir(exist_ok=True)
        (old / path).write_bytes(bytes(len(data)))
    with pytest.raises(Conflict, match="not the folder any more"):
        theirs.finish()
    assert old.is_dir()
    assert taken != old
    assert contents(taken)["sub/weights.bin"] == FILES["sub/weights.bin"]
    mine.close()
    theirs.close()


def test_a_tree_whose_claimer_died_is_taken_back_with_all_its_blocks(tmp_path: Path, manifest: Manifest) -> None:
    dead = prepared(tmp_path / "partial", manifest)
    fill(dead)
    claimed = dead.finish()
    dead.close()
    again = Partial(tmp_path / "partial", manifest)
    assert again.prepare(b"document", strong=False) == len(FILES["sub/weights.bin"]) + len(FILES["run.sh"])
    assert not claimed.exists()
    assert contents(again.finish())["run.sh"] == FILES["run.sh"]
    again.close()


def test_of_two_claimed_trees_the_second_is_garbage(tmp_path: Path, manifest: Manifest) -> None:
    first = prepared(tmp_path / "partial", manifest)
    fill(first)
    first.finish()
    first.close()
    (tmp_path / "partial" / "tree-zz").mkdir()
    (tmp_path / "partial" / "tree-zz" / "old.bin").write_bytes(b"an older life")
    again = prepared(tmp_path / "partial", manifest)
    again.close()
    assert sorted(path.name for path in (tmp_path / "partial").iterdir()) == ["bitmap", "manifest.jsonl", "tree"]
