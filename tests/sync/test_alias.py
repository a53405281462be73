"""An alias is exactly what was promoted: moved by people, followed by readers, and in the way of a delete."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bentosync import aio
from bentosync.errors import Conflict, IntegrityError, InvalidTag, NotFound
from bentosync.loader.resolve import resolve
from bentosync.sync.alias import Alias
from tests.sync.scene import Scene


def set_alias(scene: Scene, tag: str, alias: str) -> Alias:
    return asyncio.run(aio.set_alias(tag, alias, settings=scene.settings("publisher")))


def remove_alias(scene: Scene, name: str, alias: str) -> None:
    asyncio.run(aio.remove_alias(name, alias, settings=scene.settings("publisher")))


def aliases(scene: Scene, name: str | None = None) -> dict[str, str | None]:
    found = asyncio.run(aio.list_aliases(name, settings=scene.settings("publisher")))
    return {f"{each.name}@{each.alias}": each.pointer.version if each.pointer else None for each in found}


def push(scene: Scene, *tags: str) -> None:
    for tag in tags:
        scene.create(tag, {"a.txt": tag.encode()})
        scene.push(tag)


def test_an_alias_is_set_by_a_push_moved_by_hand_and_followed_by_a_pull(scene: Scene) -> None:
    push(scene, "m:v1", "m:v2", "n:v1")
    scene.create("m:v3", {"a.txt": b"3"})
    settings = scene.settings("publisher")
    asyncio.run(aio.push("m:v3", aliases=("prod", "canary"), settings=settings))
    assert scene.pull("m@prod").tag.version == "v3"
    set_alias(scene, "m:v1", "prod")
    assert scene.pull("m@prod").tag.version == "v1"
    set_alias(scene, "m@canary", "staging")
    set_alias(scene, "n", "prod")
    assert aliases(scene) == {"m@canary": "v3", "m@prod": "v1", "m@staging": "v3", "n@prod": "v1"}
    assert aliases(scene, "n") == {"n@prod": "v1"}
    remove_alias(scene, "m", "staging")
    assert aliases(scene, "m") == {"m@canary": "v3", "m@prod": "v1"}
    # A push of what is there already moves it too, and `latest` is no business of an alias.
    asyncio.run(aio.push("m:v2", aliases=("prod",), settings=settings))
    assert (scene.pull("m@prod").tag.version, scene.pull("m").tag.version) == ("v2", "v3")


def test_what_an_alias_names_is_its_content_too(folder: Scene) -> None:
    push(folder, "m:v1")
    named = set_alias(folder, "m:v1", "prod")
    assert named.pointer is not None
    folder.store("publisher").delete("m:v1")
    folder.create("m:v1", {"a.txt": b"other content"})
    folder.push("m:v1", force=True)
    with pytest.raises(IntegrityError, match=f"alias 'prod' was set to m:v1@{named.pointer.manifest}, but") as caught:
        folder.pull("m@prod")
    assert caught.value.hint == "if that was meant: bentosync alias set m:v1 prod"
    set_alias(folder, "m:v1", "prod")
    assert Path(folder.pull("m@prod").path, "a.txt").read_bytes() == b"other content"


def test_an_alias_may_be_pinned(folder: Scene) -> None:
    push(folder, "m:v1", "m:v2")
    named = set_alias(folder, "m:v1", "prod")
    assert named.pointer is not None
    assert folder.pull(f"m@prod@{named.pointer.manifest}").tag.version == "v1"
    set_alias(folder, "m:v2", "prod")
    with pytest.raises(IntegrityError):
        folder.pull(f"m@prod@{named.pointer.manifest}")


def test_a_version_that_an_alias_names_is_not_deleted(scene: Scene) -> None:
    push(scene, "m:v1", "m:v2")
    set_alias(scene, "m:v1", "prod")
    settings = scene.settings("publisher")
    for target in ("m:v1", "m"):
        with pytest.raises(Conflict, match="is what m@prod names"):
            asyncio.run(aio.delete_remote(target, settings=settings))
        assert len(scene.keys("models/m/v")) == 2
    set_alias(scene, "m:v2", "prod")
    asyncio.run(aio.delete_remote("m:v1", settings=settings))
    with pytest.raises(NotFound):
        set_alias(scene, "m:v1", "prod")
    assert aliases(scene) == {"m@prod": "v2"}


def test_what_is_not_there_is_said(folder: Scene) -> None:
    push(folder, "m:v1")
    set_alias(folder, "m:v1", "prod")
    with pytest.raises(NotFound, match="model 'm' has no alias 'nope'"):
        folder.pull("m@nope")
    with pytest.raises(NotFound, match="has no alias 'nope'"):
        remove_alias(folder, "m", "nope")
    folder.delete_object("models/m/v1.jsonl")
    with pytest.raises(NotFound, match="alias 'prod' names m:v1, which is gone"):
        folder.pull("m@prod")
    folder.write_object("models/m/aliases/broken", b"nonsense")
    assert aliases(folder) == {"m@broken": None, "m@prod": "v1"}


def test_a_name_that_is_none_is_refused_before_anything_is_sent(folder: Scene) -> None:
    folder.create("m:v1", {"a": b"a"})
    settings = folder.settings("publisher")
    for bad in ("latest", "Prod", "b3:" + "0" * 64, "", "a/b"):
        with pytest.raises(InvalidTag):
            asyncio.run(aio.push("m:v1", aliases=(bad,), settings=settings))
        with pytest.raises(InvalidTag):
            asyncio.run(aio.set_alias("m:v1", bad, settings=settings))
    assert folder.keys("") == []


def test_a_load_by_alias_asks_the_remote(folder: Scene) -> None:
    push(folder, "m:v1", "m:v2")
    set_alias(folder, "m:v1", "prod")
    folder.pull("m:v2")
    found = resolve("m@prod", folder.settings("consumer"))
    assert found.label == "m:v1"
