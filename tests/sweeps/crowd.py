"""Many processes on one version of one store, some killed at random: `python -m tests.sweeps.crowd ROOT`.

A round is: the members fork and start together, each does a few random things to `m:v1` (pull it, pull it by force,
create it, delete it, list), and some are killed at a random moment. What is left must be a version that one of them
made, whole, or none; and the next pull must succeed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bentosync.cli import exits
from bentosync.errors import NotFound
from tests.blocks import content
from tests.oracle import Broken, tree_digest
from tests.sweeps.operations import BLOCKS, look_at, scene_in
from tests.sync.scene import Scene

HUNG_SECONDS = 60
KILLED = 0.3
"""Share of the members that are killed."""
KILLED_WITHIN_SECONDS = 0.15
ACTS_MAX = 3
EXPECTED = ("CONFLICT", "NOT-FOUND", "BUSY")
"""What may be said to who comes second."""


class Crowd:
    """Rounds in `root`, which is its own."""

    def __init__(self, root: Path) -> None:
        self._template = root / "template"
        self._live = root / "live"
        self._live.mkdir(parents=True)
        scene = scene_in(self._live)
        scene.create("m:v1", BLOCKS)
        scene.push("m:v1")
        scene.pull("m:v1")
        self._pulled = tree_digest(self._live / "consumer/models/m/v1")
        scene.store("consumer").delete("m")
        self._live.rename(self._template)

    def round(self, seed: int, members: int) -> dict[str, Any]:
        """One round; how many were killed, and what went wrong."""
        chance = random.Random(seed)
        shutil.rmtree(self._live, ignore_errors=True)
        shutil.copytree(self._template, self._live)
        children = [self._fork(seed, member) for member in range(members)]
        doomed = [child for child in children if chance.random() < KILLED]
        for child in doomed:
            time.sleep(chance.random() * KILLED_WITHIN_SECONDS / len(doomed))
            os.kill(child, signal.SIGKILL)
        failures = []
        killed = 0
        for member, child in enumerate(children):
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            killed += status == -signal.SIGKILL
            if status not in (0, -signal.SIGKILL):
                failures.append(f"member {member} ended with {status}: {self._said(member)}")
        try:
            self._check(members)
        except Exception as error:
            failures.append("".join(traceback.format_exception(error))[-2000:])
        return {"killed": killed, "failures": [f"{members} members, seed {seed}: {failure}" for failure in failures]}

    def _check(self, members: int) -> None:
        now = look_at(self._live).versions.get(("consumer", "m:v1"))
        if now not in {None, self._pulled, *(self._made(member) for member in range(members))}:
            raise Broken(f"m:v1 is {now}, which nobody made")
        scene_in(self._live).pull("m:v1", force=True)
        if look_at(self._live).versions["consumer", "m:v1"] != self._pulled:
            raise Broken("the pull after it did not bring the remote's version")

    # --- a member -----------------------------------------------------------------------------------------------------

    def _fork(self, seed: int, member: int) -> int:
        child = os.fork()
        if child == 0:
            signal.alarm(HUNG_SECONDS)
            status = 1
            try:
                self._live_a_little(random.Random(seed * 1000 + member), member)
                status = 0
            except BaseException as error:
                self._note(member).write_text("".join(traceback.format_exception(error))[-2000:])
            finally:
                os._exit(status)
        return child

    def _live_a_little(self, chance: random.Random, member: int) -> None:
        scene = scene_in(self._live)
        acts: list[Callable[[], object]] = [
            lambda: scene.pull("m:v1"),
            lambda: scene.pull("m:v1", force=True),
            lambda: self._create(scene, member),
            lambda: scene.store("consumer").delete("m:v1"),
            lambda: scene.store("consumer").delete("m"),
            lambda: [scene.store("consumer").list(), self._get(scene)],
        ]
        for act in chance.choices(acts, weights=(4, 2, 2, 1, 1, 2), k=chance.randint(1, ACTS_MAX)):
            try:
                act()
            except Exception as error:
                if exits.diagnose(error).code not in EXPECTED:
                    raise

    @staticmethod
    def _get(scene: Scene) -> None:
        try:
            scene.store("consumer").get("m")
        except NotFound:
            return

    @staticmethod
    def _create(scene: Scene, member: int) -> None:
        scene.create("m:v1", {"mine.bin": content(100 + member, 5000)}, "consumer")

    def _made(self, member: int) -> str:
        """The digest of what a member creates."""
        root = self._live.parent / f"made-{member}"
        if not root.exists():
            scene = scene_in(root)
            self._create(scene, member)
        return tree_digest(root / "consumer/models/m/v1")

    def _note(self, member: int) -> Path:
        return self._live.parent / f"said-{member}"

    def _said(self, member: int) -> str:
        return self._note(member).read_text() if self._note(member).exists() else "it hung"


def main() -> None:
    warnings.simplefilter("ignore")
    crowd = Crowd(Path(sys.argv[1]))
    for line in sys.stdin:
        print(json.dumps(crowd.round(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
