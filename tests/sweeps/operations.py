"""What the sweeps disturb: each operation with the state it starts from.

To sweep another one (prune, gc, …) add it to `OPERATIONS`. All of them work on a `Scene` (stores and a remote in one
folder), so a look at the scene before and after an undisturbed run says what a disturbed one may leave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bentosync.settings import RemoteSettings
from tests.blocks import content
from tests.oracle import Folder, Look, look
from tests.sync.scene import Scene

MIB = 1 << 20
ONE = {"weights.bin": content(1, 70_000), "sub/more.bin": content(2, 90_000), "empty": b""}
OTHER = {"weights.bin": content(3, 70_000), "sub/other.bin": content(4, 80_000)}
BLOCKS = {"weights.bin": content(6, 2 * MIB + 1000), "sub/more.bin": content(7, 70_000)}
LARGE = {"large.bin": content(5, 17 * MIB)}
HOMES = ("publisher", "consumer", "rival")


@dataclass(frozen=True)
class Operation:
    """`run` is what is disturbed and repeated, in the state that `prepare` made."""

    prepare: Callable[[Scene], object]
    run: Callable[[Scene], object]
    command: str = ""
    """The same on the command line."""
    home: str = "publisher"
    """The store that the command works on."""
    already: str = ""
    """The code of the error that a repeat may end with, because the first run did it all."""
    exchanges: bool = True
    """Whether the file system can swap two folders in one step."""
    resumed: bool = False
    """Whether `run` was killed once already, somewhere in its middle, before it is disturbed."""
    turns: int = 1
    """How often it is swept, each time killed elsewhere."""
    points_max: int = 1 << 30
    """Points of one sweep: fewer than there are where megabytes make each expensive."""


def scene_in(root: Path) -> Scene:
    """The scene of a folder."""
    return Scene(root, RemoteSettings(url=(root / "remote").as_uri()))


def look_at(root: Path) -> Look:
    """All places of a scene."""
    return look({home: root / home for home in HOMES}, {"remote": Folder(root / "remote")})


def _published(scene: Scene, *versions: str, files: Mapping[str, bytes] = ONE) -> None:
    for version in versions:
        scene.create(f"m:{version}", files)
        scene.push(f"m:{version}")


def _two(scene: Scene) -> None:
    scene.create("m:v1", OTHER)
    scene.create("m:v2", ONE)


def _next(scene: Scene) -> None:
    _published(scene, "v1")
    scene.create("m:v2", OTHER)


def _pulled(scene: Scene) -> None:
    """`m:v1` was pulled, `m:v2` can be."""
    _published(scene, "v1")
    scene.pull("m:v1")
    _published(scene, "v2")


def _contested(scene: Scene) -> None:
    """`m:v1` is on the remote, and other content of that name in the stores of the consumer and of a rival."""
    _published(scene, "v1", files=BLOCKS)
    for home in ("consumer", "rival"):
        scene.create("m:v1", OTHER, home)


_CREATE = Operation(lambda s: s.create("m:v1", OTHER), lambda s: s.create("m:v2", ONE), already="CONFLICT")
_DELETE = Operation(_two, lambda s: s.store("publisher").delete("m:v2"), "delete -y m:v2", already="NOT-FOUND")
_PUSH = Operation(lambda s: s.create("m:v1", BLOCKS), lambda s: s.push("m:v1"), "push m:v1")
_PUSH_NEXT = Operation(_next, lambda s: s.push("m:v2"), "push m:v2")
_PUSH_LARGE = Operation(lambda s: s.create("m:v1", LARGE), lambda s: s.push("m:v1"), "push m:v1", points_max=16)
_PUSH_FORCE = Operation(_contested, lambda s: s.push("m:v1", home="rival", force=True), "push -f m:v1", "rival")
_PULL = Operation(lambda s: _published(s, "v1", files=BLOCKS), lambda s: s.pull("m:v1"), "pull m:v1", "consumer")
_PULL_NEXT = Operation(_pulled, lambda s: s.pull("m"), "pull m", "consumer")
_PULL_LARGE = Operation(
    lambda s: _published(s, "v1", files=LARGE), lambda s: s.pull("m:v1"), "pull m:v1", "consumer", points_max=16
)
_PULL_FORCE = Operation(_contested, lambda s: s.pull("m:v1", force=True), "pull -f m:v1", "consumer")


def _resumed(work: Operation, turns: int) -> Operation:
    return replace(work, resumed=True, turns=turns)


OPERATIONS: dict[str, Operation] = {
    "create the first": replace(_CREATE, prepare=lambda s: None),
    "create another": _CREATE,
    "delete a version": _DELETE,
    "delete the only one": replace(_DELETE, prepare=lambda s: s.create("m:v2", ONE)),
    "delete a name": replace(_DELETE, run=lambda s: s.store("publisher").delete("m"), command="delete -y m"),
    "push the first": _PUSH,
    "push another": _PUSH_NEXT,
    "push in parts": _PUSH_LARGE,
    "push --force": _PUSH_FORCE,
    "push again": _resumed(_PUSH, 4),
    "push another again": _resumed(_PUSH_NEXT, 4),
    "push in parts again": _resumed(_PUSH_LARGE, 1),
    "push --force again": _resumed(_PUSH_FORCE, 4),
    "pull the first": _PULL,
    "pull another": _PULL_NEXT,
    "pull a large one": _PULL_LARGE,
    "pull --force": _PULL_FORCE,
    "pull --force without exchange": replace(_PULL_FORCE, exchanges=False),
    "pull again": _resumed(_PULL, 4),
    "pull another again": _resumed(_PULL_NEXT, 4),
    "pull a large one again": _resumed(_PULL_LARGE, 1),
    "pull --force again": _resumed(_PULL_FORCE, 4),
    "pull --force again without exchange": _resumed(replace(_PULL_FORCE, exchanges=False), 4),
}
