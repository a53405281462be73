"""Pulls that meet something in the store: damage, other content, another process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bentosync import events
from bentosync.errors import BentoMLException, Conflict
from bentosync.settings import RemoteSettings
from tests.blocks import content
from tests.sync.scene import Scene, tree_of

FILES = {"a.bin": content(1, 200_000)}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path, RemoteSettings(url=(tmp_path / "remote").as_uri()))
    scene.create("m:v1", FILES)
    scene.push("m:v1")
    return scene


def break_yaml(version: Path) -> None:
    (version / "model.yaml").write_text("{{{{")


def lose_yaml(version: Path) -> None:
    (version / "model.yaml").unlink()


def plant_link(version: Path) -> None:
    (version / "a.bin").unlink()
    (version / "a.bin").symlink_to("/etc/hostname")


@pytest.mark.parametrize("damage", [break_yaml, lose_yaml, plant_link])
def test_force_replaces_a_version_that_is_damaged_in_any_way(scene: Scene, damage: Callable[[Path], None]) -> None:
    damage(Path(scene.pull("m:v1").path))
    with pytest.raises(BentoMLException):
        scene.pull("m:v1")
    assert tree_of(scene.pull("m:v1", force=True)) == tree_of(scene.store("publisher").get("m:v1"))


def arrive(scene: Scene, source: str) -> Callable[[events.Event], None]:
    """Another process, whose lock we cannot see, puts `source`'s version into the store before we publish ours."""

    def on_event(event: events.Event) -> None:
        if event == events.Phase("pull", "m:v1", "commit"):
            shutil.copytree(scene.root / source / "models", scene.root / "consumer" / "models", dirs_exist_ok=True)

    return on_event


def test_the_same_version_published_meanwhile_is_as_good_as_ours(scene: Scene) -> None:
    pulled = scene.pull("m:v1", on_event=arrive(scene, "publisher"))
    assert tree_of(pulled) == tree_of(scene.store("publisher").get("m:v1"))


def test_other_content_published_meanwhile_is_a_conflict_and_stays(scene: Scene) -> None:
    other = scene.create("m:v1", {"a.bin": content(2, 200_000)}, home="other")
    with pytest.raises(Conflict, match="already exists"):
        scene.pull("m:v1", on_event=arrive(scene, "other"))
    assert tree_of(scene.store("consumer").get("m:v1")) == tree_of(other)


def test_who_replaced_a_version_on_the_remote_pulls_it_without_force(scene: Scene) -> None:
    """The manifest seen first is not the one there now, but it was this very store that replaced it."""
    scene.store("publisher").delete("m:v1")
    scene.pull("m:v1", home="publisher")
    scene.store("publisher").delete("m:v1")
    scene.create("m:v1", {"a.bin": content(3, 200_000)})
    scene.push("m:v1", force=True)
    scene.store("publisher").delete("m:v1")
    assert scene.pull("m:v1", home="publisher").tag.version == "v1"
