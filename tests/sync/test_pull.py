"""Pulls that meet something in the store: damage, other content, another process."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bentosync import aio, events
from bentosync.errors import BentoMLException, Conflict, InvalidArgument
from bentosync.settings import RemoteSettings
from bentosync.tag import Tag
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


@pytest.mark.parametrize("verify", ["off", "ful", ""])
def test_what_is_no_strength_is_refused_and_nothing_is_pulled(scene: Scene, verify: str) -> None:
    settings = scene.settings("consumer")
    for call in (aio.pull, aio.checkout):
        with pytest.raises(InvalidArgument, match="is not one of auto, full, strong"):
            asyncio.run(call("m:v1", verify=verify, settings=settings))  # type: ignore[operator]
    assert not scene.store("consumer").list()
    scene.pull("m:v1")
    with pytest.raises(InvalidArgument, match="is not one of full, strong"):
        scene.store("consumer").check(Tag("m", "v1"), strength=verify)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="is not one of full, strong"):
        asyncio.run(aio.repair("m:v1", strength=verify, settings=settings))  # type: ignore[arg-type]


def test_a_pin_says_which_content_is_meant_whatever_was_seen_before(scene: Scene) -> None:
    scene.pull("m:v1")
    scene.store("consumer").delete("m:v1")
    scene.create("m:v1", {"a.bin": content(2, 100_000)}, home="other")
    pin = scene.push("m:v1", home="other", force=True).digest
    with pytest.raises(Conflict, match="first saw"):
        scene.pull("m:v1")
    assert tree_of(scene.pull(f"m:v1@{pin}")) == tree_of(scene.store("other").get("m:v1"))
    scene.store("consumer").delete("m:v1")
    scene.pull("m:v1")


def test_a_pin_replaces_nothing_that_is_in_the_store(scene: Scene) -> None:
    old = tree_of(scene.pull("m:v1"))
    scene.create("m:v1", {"a.bin": content(2, 100_000)}, home="other")
    pin = scene.push("m:v1", home="other", force=True).digest
    with pytest.raises(Conflict, match="has other content"):
        scene.pull(f"m:v1@{pin}")
    assert tree_of(scene.store("consumer").get("m:v1")) == old


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
