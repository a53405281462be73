"""Two pushers, a deleter and a collector on one remote, in any order of their steps: what shows is always whole.

Every step on the remote waits at a gate; hypothesis chooses who goes next, and who dies. After each step a reader
looks: each version that a manifest names has all its files. At the end what was pushed and not deleted is there, and a
pusher that had to give way said so.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from bentosync.errors import BentoMLException, Conflict, NotFound
from bentosync.events import ignore
from bentosync.remote.contract import Remote
from bentosync.remote.directory import DirectoryRemote
from bentosync.settings import RemoteSettings
from bentosync.sync import delete as deleting
from bentosync.sync import gc as collecting
from bentosync.sync import push as pushing
from bentosync.sync.watch import Watch
from bentosync.tag import Tag
from tests.blocks import content
from tests.oracle import Folder, look
from tests.sync.scene import Scene
from tests.tally import LONG, Count

pytestmark = pytest.mark.timeout(120 * LONG)

EXAMPLES = 40
STEPS_MAX = 200
TAG = Tag("m", "v1")
FILES = {"a": {"weights.bin": content(1, 70_000)}, "b": {"weights.bin": content(2, 66_000), "more.bin": b"x"}}
GATED = (
    "read",
    "read_range",
    "stat",
    "write",
    "start_upload",
    "send_part",
    "complete_upload",
    "abort_upload",
    "delete",
)


class Gate:
    """Holds the steps of one actor until each is let through."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._waiting: list[asyncio.Future[None]] = []
        self.arrived = asyncio.Event()
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        step = getattr(self._remote, name)
        if name not in GATED:
            return step

        async def gated(*args: Any, **more: Any) -> Any:
            if self.dead:
                raise asyncio.CancelledError
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self.arrived.set()
            await turn
            return await step(*args, **more)

        return gated

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    def let_one_through(self) -> None:
        self.arrived.clear()
        self._waiting.pop(0).set_result(None)


class Actor:
    """One of the four: its gate, and the task that does its work."""

    def __init__(self, name: str, root: Path, work: Callable[[Remote], Awaitable[object]]) -> None:
        self.name = name
        self.gate = Gate(DirectoryRemote(root))
        self.task = asyncio.ensure_future(work(self.gate))  # type: ignore[arg-type]

    async def die(self) -> None:
        """End like a process that is killed: nothing it does on its way out reaches the remote."""
        self.gate.dead = True
        self.task.cancel()
        _, pending = await asyncio.wait({self.task}, timeout=20)
        assert not pending, f"{self.name} cannot be cancelled"

    async def settle(self) -> None:
        """Wait until it waits, or is done."""
        while not self.task.done() and not self.gate.waits:
            arrived = asyncio.ensure_future(self.gate.arrived.wait())
            done, _ = await asyncio.wait({self.task, arrived}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
            arrived.cancel()
            self.gate.arrived.clear()
            assert done, f"{self.name} does nothing"


@pytest.fixture(scope="module")
def prepared() -> Iterator[Path]:
    """Stores of two pushers, with the same version; contents of `a` and `b`."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        root = Path(folder) / "template"
        scene = Scene(root, RemoteSettings(url=(root / "remote").as_uri()))
        for home in FILES:
            scene.create(str(TAG), FILES[home], home)
        yield root


async def play(root: Path, choices: list[int], deaths: set[int], force: bool) -> None:
    """One history: who moves at each step is `choices`, at the steps in `deaths` the actor dies instead."""
    scene = Scene(root, RemoteSettings(url=(root / "remote").as_uri()))
    options = scene.settings("a")

    def pusher(home: str) -> Callable[[Remote], Awaitable[object]]:
        store = scene.store(home)
        model = store.get(str(TAG))
        watch = Watch(ignore, "push")
        return lambda remote: pushing.push(store, remote, model, settings=options, watch=watch, force=force)

    async def deleter(remote: Remote) -> None:
        for head in await deleting.versions(remote, TAG, jobs=1):
            await deleting.delete(remote, head, exclusive=True)

    async def collector(remote: Remote) -> None:
        seen = await collecting.look(remote, jobs=1)
        now = await collecting.store_time(remote)
        plan = collecting.decide(seen, now=now, min_age_seconds=collecting.MIN_AGE_SECONDS)
        await collecting.collect(remote, seen, plan, exclusive=True)

    remote = root / "remote"
    actors = [Actor(home, remote, pusher(home)) for home in FILES]
    actors += [Actor("deleter", remote, deleter), Actor("collector", remote, collector)]
    for step in range(STEPS_MAX):
        for actor in actors:
            await actor.settle()
        living = [actor for actor in actors if not actor.task.done()]
        if not living:
            break
        actor = living[choices[step % len(choices)] % len(living)]
        if step in deaths:
            await actor.die()
        else:
            actor.gate.let_one_through()
            await actor.settle()
        look({}, {"remote": Folder(remote)})
    await judge(root, actors)


async def judge(root: Path, actors: list[Actor]) -> None:
    """Everybody ended, with a reason; and the next push ends well."""
    ended: dict[str, BaseException | None] = {}
    for actor in actors:
        assert actor.task.done(), f"{actor.name} never ended"
        ended[actor.name] = None if actor.task.cancelled() else actor.task.exception()
        error = ended[actor.name]
        assert error is None or isinstance(error, (Conflict, NotFound)), f"{actor.name}: {error!r}"
    shown = look({}, {"remote": Folder(root / "remote")}).versions
    pushed = [name for name in FILES if ended[name] is None and not _died(actors, name)]
    deleted = ended["deleter"] is None or _died(actors, "deleter")
    if pushed and not deleted:
        assert shown, f"{pushed} pushed, nobody deleted, and nothing is there"


def _died(actors: list[Actor], name: str) -> bool:
    return next(actor for actor in actors if actor.name == name).task.cancelled()


def test_in_any_order_of_steps_and_deaths_what_shows_is_whole(prepared: Path, seed: int, count: Count) -> None:
    began = time.monotonic()
    histories = 0

    @seeded(seed)
    @settings(
        max_examples=EXAMPLES * LONG, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(
        choices=st.lists(st.integers(0, 3), min_size=1, max_size=60),
        deaths=st.sets(st.integers(0, 60), max_size=2),
        force=st.booleans(),
    )
    def history(choices: list[int], deaths: set[int], force: bool) -> None:
        nonlocal histories
        histories += 1
        root = prepared.parent / "live"
        shutil.copytree(prepared, root)
        try:
            asyncio.run(play(root, choices, deaths, force))
            scene = Scene(root, RemoteSettings(url=(root / "remote").as_uri()))
            try:
                scene.push(str(TAG), home="a", force=True)
            except BentoMLException as error:
                raise AssertionError(f"the next push failed: {error}") from error
            assert ("remote", str(TAG)) in look({}, {"remote": Folder(root / "remote")}).versions
        finally:
            shutil.rmtree(root)

    history()
    count(
        "interleavings of two pushes, delete and gc", histories=histories, seed=seed, seconds=time.monotonic() - began
    )
