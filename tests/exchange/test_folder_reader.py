"""Folders come in with the bytes behind their links, and with nothing that is no model."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from bentosync.errors import Conflict, InvalidArgument, InvalidModel
from bentosync.events import Progress
from bentosync.exchange.importing import import_model
from bentosync.store.store import Store
from tests.store.trees import listing, pattern, write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def files(root: Path) -> dict[str, bytes]:
    return {path: data for path, data in listing(root).items() if data is not None and path != "model.yaml"}


def test_a_hugging_face_snapshot_comes_in_whole_and_quietly(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repo = tmp_path / "hub/models--org--tiny"
    weights = pattern(1_200_000)
    write(repo, {"blobs/aaa": weights, "blobs/bbb": b"{}", "refs/main": b"c0ffee"})
    snapshot = repo / "snapshots/c0ffee"
    (snapshot / "onnx").mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/aaa")
    (snapshot / "onnx/config.json").symlink_to("../../../blobs/bbb")
    for number, path in enumerate((snapshot, repo)):
        model = import_model(store, str(path), name=f"tiny:v{number}").model
        assert files(Path(model.path)) == {"model.safetensors": weights, "onnx/config.json": b"{}"}
        assert not any(entry.is_symlink() for entry in Path(model.path).rglob("*"))
        assert store.check(model, strength="strong") == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_links_out_of_the_folder_are_followed_and_told_about(
    store: Store, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "elsewhere", {"a": b"1", "d/b": b"2"})
    write(folder, {"own": b"3"})
    (folder / "one").symlink_to(tmp_path / "elsewhere/a")
    (folder / "all").symlink_to(tmp_path / "elsewhere")
    (folder / "again").symlink_to("own")
    with caplog.at_level("WARNING"):
        model = import_model(store, str(folder), name="m").model
    assert files(Path(model.path)) == {"one": b"1", "all/a": b"1", "all/d/b": b"2", "own": b"3", "again": b"3"}
    assert "2 links lead out of" in caplog.text


def test_links_that_lead_nowhere_or_in_a_circle_are_refused(store: Store, folder: Path) -> None:
    write(folder, {"d/x": b"x"})
    for target, word in (
        ("missing", "No such file"),
        ("loop", "symbolic links"),
        (".", "holds it"),
        ("..", "holds it"),
        ("/", "holds it"),
    ):
        link = folder / "d" / "loop"
        link.symlink_to(target)
        with pytest.raises(InvalidModel, match=word):
            import_model(store, str(folder), name="m")
        link.unlink()
    assert not (store.layout.models / "m").exists()


def test_pipes_and_sockets_are_refused_without_waiting(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    os.mkfifo("pipe")
    with pytest.raises(InvalidModel, match="pipe is a pipe"):
        import_model(store, str(folder), name="m")
    os.unlink("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(InvalidModel, match="socket is a socket"):
            import_model(store, str(folder), name="m")


def test_state_of_download_tools_is_left_out_unless_it_is_a_model_of_bentomls(store: Store, folder: Path) -> None:
    write(folder, {"w": b"w", ".cache/huggingface/x": b"x", ".git/config": b"c", "d/.git/x": b"kept"})
    model = import_model(store, str(folder), name="m:v1").model
    assert files(Path(model.path)) == {"w": b"w", "d/.git/x": b"kept"}
    write(folder, {"model.yaml": Path(model.path_of("model.yaml")).read_bytes().replace(b"v1", b"v2")})
    again = import_model(store, str(folder)).model
    assert set(files(Path(again.path))) == {"w", "d/.git/x", ".cache/huggingface/x", ".git/config"}


def test_empty_folders_and_execute_bits_are_kept(store: Store, folder: Path) -> None:
    write(folder, {"run.sh": b"#!"})
    os.chmod(folder / "run.sh", 0o4755)
    (folder / "hollow/inner").mkdir(parents=True)
    model = import_model(store, str(folder), name="m").model
    manifest = store.describe(model)
    assert manifest.directories == ("hollow/inner",)
    assert [entry.executable for entry in manifest.files] == [False, True]
    assert os.stat(model.path_of("run.sh")).st_mode & 0o7000 == 0


def test_a_folder_that_cannot_be_named_is_refused_before_it_is_read(store: Store, folder: Path) -> None:
    write(folder, {"w": b"w"})
    seen: list[object] = []
    with pytest.raises(InvalidArgument, match="does not say what it is called"):
        import_model(store, str(folder), on_event=seen.append)
    import_model(store, str(folder), name="m:v1")
    with pytest.raises(Conflict):
        import_model(store, str(folder), name="m:v1", on_event=seen.append)
    assert not [event for event in seen if isinstance(event, Progress)]
    assert list(store.layout.staging.iterdir()) == []
