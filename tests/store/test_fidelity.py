"""What a created tree keeps, replaces and refuses."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from bentosync.errors import InvalidModel
from bentosync.store.store import Store
from tests.store.trees import listing, pattern, write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder like a Hugging Face cache: a snapshot of links into a folder of blobs."""
    write(tmp_path / "cache", {"blobs/aa": pattern(3000), "blobs/bb": b"config", "more/x/y": b"deep"})
    write(tmp_path / "cache", {"snapshot/.keep": b""})
    (tmp_path / "cache/snapshot/model.safetensors").symlink_to("../blobs/aa")
    (tmp_path / "cache/snapshot/config.json").symlink_to("../blobs/bb")
    (tmp_path / "cache/snapshot/more").symlink_to(tmp_path / "cache/more")
    return tmp_path / "cache"


def no_links(root: Path) -> bool:
    return not any(path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1) for path in root.rglob("*"))


def test_links_that_leave_the_tree_become_bytes_and_are_noted_once(
    store: Store, outside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="bentosync"), store.create("m:v1") as model:
        (Path(model.path) / "hf").symlink_to(outside / "snapshot")
    found = listing(Path(model.path) / "hf")
    assert found == {
        ".keep": b"", "model.safetensors": pattern(3000), "config.json": b"config", "more": None, "more/x": None,
        "more/x/y": b"deep",
    }  # fmt: skip
    assert no_links(Path(model.path))
    assert [record.message for record in caplog.records if "led out of" in record.message] != []
    assert len(caplog.records) == 1
    assert (outside / "blobs/aa").read_bytes() == pattern(3000)


def test_links_inside_the_tree_and_hard_links_become_files_of_their_own(store: Store, tmp_path: Path) -> None:
    write(tmp_path, {"shared": pattern(10)})
    with store.create("m:v1") as model:
        root = Path(model.path)
        write(root, {"a": pattern(100), "d/b": b"b"})
        (root / "to-a").symlink_to("a")
        (root / "to-d").symlink_to("d")
        (root / "chain").symlink_to("to-a")
        os.link(root / "a", root / "hard")
        os.link(tmp_path / "shared", root / "shared")
    assert no_links(Path(model.path))
    found = listing(Path(model.path))
    assert (found["to-a"], found["chain"], found["hard"], found["shared"]) == (pattern(100),) * 3 + (pattern(10),)
    assert found["to-d/b"] == b"b"
    (tmp_path / "shared").write_bytes(b"changed")
    assert Path(model.path_of("shared")).read_bytes() == pattern(10)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda root: (root / "x").symlink_to("nowhere"), "x is a link to 'nowhere': No such file"),
        (lambda root: (root / "x").symlink_to("x"), "x is a link to 'x': Too many levels"),
        (lambda root: (root / "x").symlink_to("."), "x is a link to a folder that holds it"),
        (lambda root: (root / "x").symlink_to("/"), "x is a link to a folder that holds it"),
        (lambda root: (root / "x").symlink_to("/dev/null"), "x is a link to a device"),
        (lambda root: os.mkfifo(root / "x"), "x is a pipe"),
        (lambda root: socket.socket(socket.AF_UNIX).bind(os.path.relpath(root / "x")), "x is a socket"),
        (lambda root: os.mknod(root / "x", 0o020666, os.makedev(1, 3)), "x is a device"),
    ],
    ids=["dangling", "loop", "self", "root", "to-device", "pipe", "socket", "device"],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_file_is_refused_by_name_and_nothing_remains(
    store: Store, make: object, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidModel, match=why), store.create("m:v1") as model:
        try:
            make(Path(model.path))  # type: ignore[operator]
        except PermissionError:
            pytest.skip("device nodes need root")
    assert store.list() == []
    assert [*store.layout.staging.iterdir(), *store.layout.trash.iterdir()] == []


def test_a_loop_outside_the_tree_is_refused_before_it_fills_the_disk(store: Store, tmp_path: Path) -> None:
    write(tmp_path, {"loop/sub/data": pattern(100)})
    (tmp_path / "loop/sub/up").symlink_to(tmp_path / "loop")
    with pytest.raises(InvalidModel, match="a folder that holds it"), store.create("m:v1") as model:
        (Path(model.path) / "x").symlink_to(tmp_path / "loop")


def test_a_pipe_behind_a_link_does_not_hang(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidModel, match="a link to a pipe"), store.create("m:v1") as model:
        (Path(model.path) / "x").symlink_to(tmp_path / "pipe")


def test_a_setgid_models_folder_hands_its_group_down(store: Store) -> None:
    if os.geteuid() != 0:
        pytest.skip("changing groups needs root")
    store.layout.models.mkdir(parents=True)
    os.chown(store.layout.models, -1, 12345)
    os.chmod(store.layout.models, 0o2775)
    with store.create("m:v1") as model:
        write(Path(model.path), {"d/a": b"x"})
    for path in ("", "d", "d/a", "model.yaml"):
        status = os.stat(model.path_of(path))
        assert status.st_gid == 12345
        assert bool(status.st_mode & 0o2000) == Path(model.path_of(path)).is_dir()


def test_an_executable_link_target_keeps_its_execute_bit(store: Store, tmp_path: Path) -> None:
    write(tmp_path, {"tool": b"#!"})
    (tmp_path / "tool").chmod(0o4755)
    with store.create("m:v1") as model:
        (Path(model.path) / "tool").symlink_to(tmp_path / "tool")
    assert os.stat(model.path_of("tool")).st_mode & 0o7777 == 0o755
