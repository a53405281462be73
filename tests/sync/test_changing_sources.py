"""A model that something writes to while it is pushed: nothing is published, and the next push is as good as any."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bentosync import events
from bentosync.errors import IntegrityError
from tests.blocks import content
from tests.sync.scene import Scene, tree_of

# Several parts, so that there are bytes to change after some were sent.
SIZE = (34 << 20) + 12_345


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"other")


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def shrink(path: Path) -> None:
    os.truncate(path, 17 << 20)


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("change", [overwrite, grow, shrink, empty])
def test_a_push_whose_source_changes_publishes_nothing_and_the_process_lives(
    scene: Scene, change: Callable[[Path], None]
) -> None:
    model = scene.create("m:v1", {"model.bin": content(1, SIZE)})
    source = Path(model.path, "model.bin")
    before = tree_of(model)

    def during(event: events.Event) -> None:
        if isinstance(event, events.Progress) and event.path == "model.bin" and source.stat().st_size == SIZE:
            source.chmod(0o644)
            change(source)

    with pytest.raises(IntegrityError, match=r"model\.bin changed while it was read"):
        scene.push("m:v1", on_event=during)
    assert not [key for key in scene.keys("models/m/") if not key.startswith("models/m/pushes/")]
    source.write_bytes(content(1, SIZE))
    scene.push("m:v1")
    assert tree_of(scene.pull("m:v1")) == before
