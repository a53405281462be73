"""A version that is only on a remote is found, loaded, and published beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import bentosync
from bentosync import events
from bentosync.cli.synthetic import write_model
from bentosync.errors import NotFound


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with m:v1 and m:v2 on it, and an empty store as the process's own."""
    url = (tmp_path / "remote").as_uri()
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "publisher"))
    for version in ("v1", "v2"):
        with bentosync.models.create(f"m:{version}") as model:
            write_model(Path(model.path), size_bytes=3 << 20, shards=2, seed=int(version[1]))
        bentosync.push(f"m:{version}", remote=url)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "consumer"))
    return url


def test_a_version_the_store_lacks_is_pulled_first_where_that_is_asked_for(remote: str) -> None:
    seen: list[events.Event] = []
    tensors = bentosync.load_to_device("m:v1", "cpu", remote=remote, cache="first", on_event=seen.append)
    assert len(tensors) > 0
    assert any(isinstance(event, events.Finished) and event.operation == "pull" for event in seen)
    assert tensors.report.cache is not None and tensors.report.cache.state == "published"
    assert [str(model.tag) for model in bentosync.models.list()] == ["m:v1"]


def test_a_version_the_store_has_is_loaded_without_a_look_at_the_remote(remote: str, tmp_path: Path) -> None:
    cache = bentosync.load_to_device("m:v1", "cpu", remote=remote).report.cache
    assert cache is not None and cache.wait(30) == "published"
    assert bentosync.load_to_device("m:v1", "cpu", remote=(tmp_path / "nowhere").as_uri())


def test_the_default_remote_is_asked(remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound):
        bentosync.load_to_device("m:v1", "cpu")
    monkeypatch.setenv("BENTOSYNC_REMOTE", remote)
    assert bentosync.load_to_device("m:v1", "cpu")


def test_the_only_configured_remote_needs_no_name(remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config/bentosync/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'[remote.nas]\nurl = "{remote}"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert bentosync.load_to_device("m:v1", "cpu")


def test_a_name_alone_means_the_stores_latest_unless_refreshed(remote: str) -> None:
    bentosync.pull("m:v1", remote=remote)
    assert bentosync.load_to_device("m", "cpu", remote=remote).report.label == "m:v1"
    assert bentosync.load_to_device("m", "cpu", remote=remote, refresh=True).report.label == "m:v2"


def test_a_name_alone_means_the_remotes_latest_in_an_empty_store(remote: str) -> None:
    assert bentosync.load_to_device("m", "cpu", remote=remote).report.label == "m:v2"


def test_a_coroutine_loads_inside_a_running_loop(remote: str) -> None:
    tensors = asyncio.run(bentosync.aio.load_to_device("m:v2", "cpu", remote=remote))
    assert tensors.report.label == "m:v2"
