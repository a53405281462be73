"""What the sweeps disturb: each operation with the state it starts from.

To sweep another one add it to `OPERATIONS`. All of them work on a `Scene` (stores and a remote in one
folder), so a look at the scene before and after an undisturbed run says what a disturbed one may leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import structs

from bentosync import aio, events
from bentosync.remote.contract import Remote
from bentosync.settings import RemoteSettings
from bentosync.tag import Tag
from tests.blocks import content
from tests.oracle import Broken, Folder, Look, look
from tests.sync.scene import Scene

MIB = 1 << 20
ONE = {"weights.bin": content(1, 70_000), "sub/more.bin": content(2, 90_000), "empty": b""}
OTHER = {"weights.bin": content(3, 70_000), "sub/other.bin": content(4, 80_000)}
BLOCKS = {"weights.bin": content(6, 2 * MIB + 1000), "sub/more.bin": content(7, 70_000)}
LARGE = {"large.bin": content(5, 17 * MIB)}
# The first take nearly all that a manifest holds inline, so that enough of the others are left for a pack.
MANY = {f"a{number:02d}": content(number, 65_400) for number in range(16)}
MANY |= {f"b{number:02d}": content(100 + number, 700) for number in range(56)}
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
    """Points of one sweep: fewer than there are where megabytes make each expensive, or where there are too many."""
    damaged: frozenset[str] = frozenset()
    """Versions that differ from their records until `run` has ended well."""
    beside: Callable[[Scene], object] = lambda scene: None
    """What else must be: it may raise `Broken` after any disturbance, and gives what a repeat must leave."""


def scene_in(root: Path) -> Scene:
    """The scene of a folder."""
    return Scene(root, RemoteSettings(url=(root / "remote").as_uri()))


def look_at(root: Path, *, damaged: frozenset[str] = frozenset()) -> Look:
    """All places of a scene."""
    return look({home: root / home for home in HOMES}, {"remote": Folder(root / "remote")}, damaged=damaged)


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
_PUSH_MANY = Operation(lambda s: s.create("m:v1", MANY), lambda s: s.push("m:v1"), "push m:v1", points_max=4)
_PUSH_FORCE = Operation(_contested, lambda s: s.push("m:v1", home="rival", force=True), "push -f m:v1", "rival")
_PULL = Operation(lambda s: _published(s, "v1", files=BLOCKS), lambda s: s.pull("m:v1"), "pull m:v1", "consumer")
_PULL_NEXT = Operation(_pulled, lambda s: s.pull("m"), "pull m", "consumer")
_PULL_LARGE = Operation(
    lambda s: _published(s, "v1", files=LARGE), lambda s: s.pull("m:v1"), "pull m:v1", "consumer", points_max=16
)
_PULL_MANY = Operation(
    lambda s: _published(s, "v1", files=MANY), lambda s: s.pull("m:v1"), "pull m:v1", "consumer", points_max=4
)
_PULL_FORCE = Operation(_contested, lambda s: s.pull("m:v1", force=True), "pull -f m:v1", "consumer")


# --- upkeep -----------------------------------------------------------------------------------------------------------

LONG_AGO = 30 * 24 * 3600.0


def _age(root: Path) -> None:
    """Everything below `root` was last written a month ago."""
    moment = time.time() - LONG_AGO
    for path in [*root.rglob("*"), root]:
        os.utime(path, (moment, moment), follow_symlinks=False)


def _littered(scene: Scene) -> None:
    """A store with one version, and everything that work which died can leave in its state folder."""
    _pulled(scene)
    settings = scene.settings("consumer")
    asyncio.run(aio.checkout("m:v2", include=["sub/*"], settings=settings))
    state = scene.store("consumer").layout.state
    for folder in ("staging/dead/tree", "trash/gone/sub", "quarantine/bad"):
        (state / folder).mkdir(parents=True)
        (state / folder / "weights.bin").write_bytes(content(8, 5000))
    (state / "staging/dead/lock").touch()
    (state / "trash/0123456789abcdef").write_text("v9")
    for name in ("manifests/gone/v1.record", "use/gone/v1.used", f"owner.{'0' * 32}", "seen/ab/m/.v1.77"):
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text("old")
    for name in ("partial", "staging", "trash", "quarantine", "manifests/gone", "use/gone", "seen"):
        _age(state / name)
    os.utime(state / f"owner.{'0' * 32}", (0, 0))


def _gc(scene: Scene) -> None:
    store = scene.store("consumer")
    for leftover in store.leftovers(min_age_seconds=0):
        if leftover.kept is None:
            store.clear(leftover)


def _leftovers(scene: Scene) -> object:
    """Kind and tag of what clean-up would name; while it is being disturbed that may be anything."""
    return sorted((found.kind, str(found.tag)) for found in scene.store("consumer").leftovers(min_age_seconds=0))


class _Dies(Exception):
    pass


def _littered_remote(scene: Scene) -> None:
    """Two versions; a push that died after its files, a folder without a manifest, an upload that nobody ends."""
    _published(scene, "v1", "v2", "v3")
    scene.create("m:v4", ONE)

    def die(event: events.Event) -> None:
        if isinstance(event, events.Phase) and event.name == "commit":
            raise _Dies

    with contextlib.suppress(_Dies):
        scene.push("m:v4", on_event=die)
    scene.delete_object("models/m/v3.jsonl")
    (folder,) = {key.rpartition("/")[0] for key in scene.keys("files/m/v1-") if key.count("/") == 3}

    async def begin(remote: Remote) -> None:
        await remote.start_upload(f"{folder}/never.bin", size=1000, part_bytes=1000)

    scene._on_remote(begin)
    _age(scene.root / "remote")


def _gc_remote(scene: Scene) -> None:
    settings = scene.settings("publisher")
    asyncio.run(aio.gc_remote(min_age_seconds=24 * 3600.0, force=True, settings=settings))


def _remote_keys(scene: Scene) -> object:
    """Every key, and every upload that was begun; the probe of the clock is younger than what clean-up takes."""
    found = [key for key in scene.keys("") if not key.startswith("probes/")]

    async def uploads(remote: Remote) -> list[str]:
        return [upload.key async for upload in remote.list_uploads("")]

    return found, scene._on_remote(uploads)


def _unused(scene: Scene) -> None:
    """Three versions of the consumer's store that nobody used for years; one was made there."""
    _published(scene, "v1", "v2")
    store = scene.store("consumer")
    for version in ("v1", "v2"):
        tag = scene.pull(f"m:{version}").tag
        record = store.record(tag)
        assert record is not None
        assert record.origin is not None
        store._digests.note(
            tag, structs.replace(record, origin=structs.replace(record.origin, pulled_at="2020-01-01T00:00:00+00:00"))
        )
        os.utime(store.layout.use_path(tag, "used"), (1.5e9, 1.5e9))
    scene.create("mine:v1", OTHER, "consumer")


def _prune(scene: Scene) -> None:
    settings = scene.settings("consumer")
    asyncio.run(aio.prune(bytes_max=1, settings=settings))


def _damaged(scene: Scene) -> None:
    """A pulled version with a flipped byte, a file too short, one too many and one that is gone."""
    _published(scene, "v1", files=BLOCKS | {"lost.bin": content(9, 3000)})
    tree = Path(scene.pull("m:v1").path)
    with (tree / "weights.bin").open("r+b") as file:
        file.seek(MIB)
        file.write(b"\xff" * 7)
    os.truncate(tree / "sub/more.bin", 500)
    (tree / "lost.bin").unlink()
    (tree / "stray").write_text("stray")


def _repair(scene: Scene) -> None:
    asyncio.run(aio.repair("m:v1", settings=scene.settings("consumer")))


def _whole(scene: Scene) -> object:
    return scene.store("consumer").check(Tag("m", "v1"), strength="strong")


def _check_out(scene: Scene, **how: Any) -> None:
    asyncio.run(aio.checkout("m:v1", to=scene.root / "plain", settings=scene.settings("consumer"), **how))


def _plain(scene: Scene) -> object:
    """The user's folder: every file that shows is whole."""
    plain = scene.root / "plain"
    found = sorted(path for path in plain.rglob("*") if path.is_file())
    for path in found:
        wanted = BLOCKS.get(path.relative_to(plain).as_posix())
        if wanted is not None and path.read_bytes() != wanted:
            raise Broken(f"{path} shows and is not whole")
    return [path.relative_to(plain).as_posix() for path in found]


_GC = Operation(_littered, _gc, "gc --min-age 1d", "consumer", beside=_leftovers, points_max=16)
_GC_REMOTE = Operation(
    _littered_remote, _gc_remote, "gc --remote --min-age 1d -y --force", beside=_remote_keys, points_max=16
)
_PRUNE = Operation(_unused, _prune, "cache prune --max-size 1 -y", "consumer", points_max=16)
_REPAIR = Operation(
    _damaged, _repair, "verify --repair m:v1", "consumer", damaged=frozenset({"m:v1"}), beside=_whole, points_max=16
)
_CHECK_OUT = Operation(
    lambda s: _published(s, "v1", files=BLOCKS), _check_out, "pull m:v1 --to live/plain", "consumer",
    beside=_plain, points_max=16,
)  # fmt: skip
_CHECK_OUT_SOME = replace(
    _CHECK_OUT,
    run=lambda s: _check_out(s, include=["*.bin"]),
    command="pull m:v1 --to live/plain --include *.bin",
)


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
    "push many small ones": _PUSH_MANY,
    "push --force": _PUSH_FORCE,
    "push again": _resumed(_PUSH, 2),
    "push another again": _resumed(_PUSH_NEXT, 2),
    "push in parts again": _resumed(_PUSH_LARGE, 1),
    "push many small ones again": _resumed(_PUSH_MANY, 1),
    "push --force again": _resumed(_PUSH_FORCE, 2),
    "pull the first": _PULL,
    "pull another": _PULL_NEXT,
    "pull a large one": _PULL_LARGE,
    "pull many small ones": _PULL_MANY,
    "pull --force": _PULL_FORCE,
    "pull --force without exchange": replace(_PULL_FORCE, exchanges=False),
    "pull again": _resumed(_PULL, 2),
    "pull another again": _resumed(_PULL_NEXT, 2),
    "pull a large one again": _resumed(_PULL_LARGE, 1),
    "pull --force again": _resumed(_PULL_FORCE, 2),
    "gc": _GC,
    "gc again": _resumed(replace(_GC, points_max=8), 1),
    "gc --remote": _GC_REMOTE,
    "gc --remote again": _resumed(replace(_GC_REMOTE, points_max=8), 1),
    "cache prune": _PRUNE,
    "cache prune again": _resumed(replace(_PRUNE, points_max=8), 1),
    "verify --repair": _REPAIR,
    "verify --repair again": _resumed(replace(_REPAIR, points_max=8), 1),
    "verify --repair without exchange": replace(_REPAIR, exchanges=False),
    "pull --to": _CHECK_OUT,
    "pull --to again": _resumed(replace(_CHECK_OUT, points_max=8), 1),
    "pull --to --include": _CHECK_OUT_SOME,
    "pull --to --include again": _resumed(replace(_CHECK_OUT_SOME, points_max=8), 1),
    "pull --force again without exchange": _resumed(replace(_PULL_FORCE, exchanges=False), 2),
}
