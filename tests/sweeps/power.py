"""Power cuts on a real ext4: `unshare --mount python -m tests.sweeps.power ROOT`, preloaded with the shim, as root.

An operation runs on an ext4 in a loop image and stops before and after every call that syncs or names something. At a
stop the image is copied as it is: that is what a disk would hold if the power went now. What was never synced is not
in it, for ext4 has it only in memory. The copy is mounted (its journal is replayed), looked at, and thrown away. At
some stops the journal is made to commit first, as its timer may at any moment: then names are on the disk before
bytes that nobody synced. The mounts are in a namespace of their own and vanish with this process.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import oracle
from tests.oracle import Look
from tests.sweeps.operations import OPERATIONS, Operation, look_at, scene_in
from tests.sweeps.shim import Mode, Shim

IMAGE_BYTES = 32 << 20
COMMITS = 0.4
"""Share of the cuts before which the journal commits."""
HUNG_SECONDS = 110
RETRIED_MAX = 2
"""Cuts of one operation after which the same command is run again."""


class Power:
    """Cuts the power in `root`, which is its own."""

    def __init__(self, root: Path) -> None:
        self._shim = Shim()
        self._root = root
        self._image = root / "disk.img"
        self._disk = root / "disk"
        self._live = self._disk / "live"
        self._blank = root / "blank.img"
        for folder in (root, self._disk, root / "after"):
            folder.mkdir(exist_ok=True)
        with self._blank.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(
            ["mkfs.ext4", "-q", "-F", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0", self._blank],
            check=True,
        )

    def run(self, name: str, seed: int, share: float, *, syncs: bool = True) -> dict[str, Any]:
        """Cut at about `share` of the stops of an operation; the number of cuts, and what went wrong.

        Without `syncs` its own syncs do nothing: then something must go wrong.
        """
        work = OPERATIONS[name]
        chance = random.Random(seed)
        seen: list[tuple[str, Look]] = []
        failures: list[str] = []
        kept: list[Path] = []
        shutil.copyfile(self._blank, self._image)
        with self._mounted(self._image, self._disk):
            self._live.mkdir()
            _sync(self._disk)
            assert self._wait(self._fork(lambda: work.prepare(scene_in(self._live)))) == 0
            before = look_at(self._live)
            child = self._fork(lambda: work.run(scene_in(self._live)), Mode.STOP, work, syncs=syncs)
            for stop in self._stops(child):
                if chance.random() < share:
                    self._cut(f"stop {stop}", chance.random() < COMMITS, seen, failures)
                    if len(kept) < RETRIED_MAX and chance.random() < 0.1:
                        kept.append(self._kept(len(kept)))
            after = self._end(seen, failures)
        for place, now in seen:
            try:
                oracle.allow(now, before, after)
                assert place != "the end" or now == after, f"acknowledged, but {now} is not {after}"
            except AssertionError as error:
                failures.append(f"{place}: {error}")
        for image in kept:
            failures += self._again(image, work, after)
        return {"cuts": len(seen), "failures": [f"{name} (seed {seed}), {failure}" for failure in failures]}

    def _end(self, seen: list[tuple[str, Look]], failures: list[str]) -> Look:
        """The work is acknowledged: cut now, then see what was done."""
        self._cut("the end", False, seen, failures)
        return look_at(self._live)

    # --- one cut ------------------------------------------------------------------------------------------------------

    def _cut(self, place: str, commit: bool, seen: list[tuple[str, Look]], failures: list[str]) -> None:
        if commit:
            _sync(self._disk)
        image = self._root / "cut.img"
        self._copy(image)
        try:
            with self._mounted(image, self._root / "after"):
                seen.append((place, look_at(self._root / "after" / "live")))
        except Exception as error:
            failures.append(
                f"{place}, journal {'committed' if commit else 'as it was'}: {type(error).__name__} {error}"
            )

    def _copy(self, target: Path) -> None:
        """The image between two writes of the kernel, which goes on while the process is stopped."""
        for _ in range(20):
            writes = self._writes()
            shutil.copyfile(self._image, target)
            if self._writes() == writes:
                return
        raise AssertionError("the kernel never stopped writing")

    def _writes(self) -> tuple[str, ...]:
        """How many writes the loop device completed, and how many are under way."""
        device = os.stat(self._disk).st_dev
        fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
        return fields[4], fields[8]

    def _kept(self, number: int) -> Path:
        kept = self._root / f"kept-{number}.img"
        (self._root / "cut.img").rename(kept)
        return kept

    def _again(self, image: Path, work: Operation, after: Look) -> list[str]:
        """The power is back: the same command must finish the work."""
        with self._mounted(image, self._disk):
            status = self._wait(self._fork(lambda: work.run(scene_in(self._live)), Mode.COUNT, work))
            final = look_at(self._live)
        image.unlink()
        if status not in ((0, 1) if work.already else (0,)) or final != after:
            return [f"the same command after the cut ended with {status} and left {final}"]
        return []

    @contextmanager
    def _mounted(self, image: Path, folder: Path) -> Iterator[None]:
        subprocess.run(["mount", "-o", "loop,commit=300", image, folder], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", folder], check=True)

    # --- the process that loses its power -----------------------------------------------------------------------------

    def _fork(
        self, act: Callable[[], object], mode: Mode = Mode.OFF, work: Operation | None = None, *, syncs: bool = True
    ) -> int:
        child = os.fork()
        if child == 0:
            signal.alarm(HUNG_SECONDS)
            if work is not None and not work.exchanges:
                self._shim.forbid_exchange()
            if not syncs:
                self._shim.forbid_sync()
            self._shim.arm(mode, prefix=self._live)
            status = 1
            try:
                act()
                status = 0
            finally:
                self._shim.arm(Mode.OFF, prefix=self._live)
                os._exit(status)
        return child

    @staticmethod
    def _wait(child: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    @staticmethod
    def _stops(child: int) -> Iterator[int]:
        """Count the stops of the child, and let it go on after each."""
        stop = 0
        while True:
            _, status = os.waitpid(child, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                assert os.waitstatus_to_exitcode(status) == 0, f"it ended with {status}"
                return
            stop += 1
            yield stop
            os.kill(child, signal.SIGCONT)


def _sync(folder: Path) -> None:
    """Let the journal commit: syncing one new file does that for all names of the file system, not for their bytes."""
    path = folder / f"tick-{time.monotonic_ns()}"
    with path.open("wb") as file:
        os.fsync(file.fileno())
    path.unlink()


def main() -> None:
    warnings.simplefilter("ignore")
    power = Power(Path(sys.argv[1]))
    for line in sys.stdin:
        print(json.dumps(power.run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
