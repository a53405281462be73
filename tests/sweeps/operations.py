"""What the sweeps disturb: each operation with the state it starts from.

All of them work on a `Scene` (stores and a remote in one folder), so a look at the scene before and after an
undisturbed run says what a disturbed one may leave.

To sweep another one (prune, gc, …) add it to `OPERATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bentosync.settings import RemoteSettings
from tests.blocks import content
from tests.oracle import Folder, Look, look
from tests.sync.scene import Scene

MIB = 1 << 20
ONE = {"weights.bin": content(1, 150_000), "sub/more.bin": content(2, MIB + 100_000), "empty": b""}
OTHER = {"weights.bin": content(3, 150_000), "sub/other.bin": content(4, 70_000)}
LARGE = {"large.bin": content(5, 17 * MIB)}
HOMES = ("publisher", "consumer", "rival")


@dataclass(frozen=True)
class Operation:
    """`run` is what is disturbed and repeated, in the state that `prepare` made."""

    prepare: Callable[[Scene], object]
    run: Callable[[Scene], object]
    already: str = ""
    """The code of the error that a repeat may end with, because the first run did it all."""
    exchanges: bool = True
    """Whether the file system can swap two folders in one step."""
    resumed: bool = False
    """Whether `run` was killed once already, somewhere in its middle, before it is disturbed."""


def scene_in(root: Path) -> Scene:
    """The scene of a folder."""
    return Scene(root, RemoteSettings(url=(root / "remote").as_uri()))


def look_at(root: Path) -> Look:
    """All places of a scene."""
    return look({home: root / home for home in HOMES}, {"remote": Folder(root / "remote")})


def _published(scene: Scene, *versions: str) -> None:
    for version in versions:
        scene.create(f"m:{version}", ONE)
        scene.push(f"m:{version}")


def _contested(scene: Scene) -> None:
    """`m:v1` is on the remote, and other content of that name in the stores of the consumer and of a rival."""
    _published(scene, "v1")
    for home in ("consumer", "rival"):
        scene.create("m:v1", OTHER, home)


def _pulled_and_published(scene: Scene) -> None:
    _published(scene, "v1")
    scene.pull("m:v1")
    _published(scene, "v2")


def _two(scene: Scene) -> None:
    scene.create("m:v1", OTHER)
    scene.create("m:v2", ONE)


def _large(scene: Scene) -> None:
    scene.create("m:v1", LARGE)
    scene.push("m:v1")


OPERATIONS: dict[str, Operation] = {
    "create the first": Operation(lambda s: None, lambda s: s.create("m:v1", ONE), already="CONFLICT"),
    "create another": Operation(
        lambda s: s.create("m:v1", OTHER), lambda s: s.create("m:v2", ONE), already="CONFLICT"
    ),
    "delete a version": Operation(_two, lambda s: s.store("publisher").delete("m:v2"), already="NOT-FOUND"),
    "delete the only one": Operation(
        lambda s: s.create("m:v1", ONE), lambda s: s.store("publisher").delete("m:v1"), already="NOT-FOUND"
    ),
    "delete a name": Operation(_two, lambda s: s.store("publisher").delete("m"), already="NOT-FOUND"),
    "push the first": Operation(lambda s: s.create("m:v1", ONE), lambda s: s.push("m:v1")),
    "push another": Operation(
        lambda s: (_published(s, "v1"), s.create("m:v2", OTHER)), lambda s: s.push("m:v2")
    ),
    "push on": Operation(
        lambda s: s.create("m:v1", ONE), lambda s: s.push("m:v1"), resumed=True
    ),
    "push in parts": Operation(lambda s: s.create("m:v1", LARGE), lambda s: s.push("m:v1")),
    "push in parts on": Operation(
        lambda s: s.create("m:v1", LARGE), lambda s: s.push("m:v1"), resumed=True
    ),
    "push --force": Operation(_contested, lambda s: s.push("m:v1", home="rival", force=True)),
    "pull the first": Operation(lambda s: _published(s, "v1"), lambda s: s.pull("m:v1")),
    "pull another": Operation(_pulled_and_published, lambda s: s.pull("m")),
    "pull on": Operation(
        lambda s: _published(s, "v1"), lambda s: s.pull("m:v1"), resumed=True
    ),
    "pull large": Operation(_large, lambda s: s.pull("m:v1")),
    "pull --force": Operation(_contested, lambda s: s.pull("m:v1", force=True)),
    "pull --force, no exchange": Operation(_contested, lambda s: s.pull("m:v1", force=True), exchanges=False),
    "pull --force on, no exchange": Operation(
        _contested,
        lambda s: s.pull("m:v1", force=True),
        exchanges=False,
        resumed=True,
    ),
}  # fmt: skip
