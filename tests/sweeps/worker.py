"""One process that disturbs operations, point after point; it is started with the shim preloaded.

It imports bentosync once; every run is a fork of it (2 ms instead of a start of 300). Tasks come as JSON lines on
stdin, results go as JSON lines to stdout. A point is: copy the prepared scene, run the operation in a child whose
n-th file-system call kills it or fails, look (tests/oracle.py), run the operation again undisturbed, look again.
"""

from __future__ import annotations

import errno
import gc
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bentosync.cli import exits
from tests import oracle
from tests.oracle import Broken, Look
from tests.sweeps.operations import OPERATIONS, Operation, look_at, scene_in
from tests.sweeps.shim import Mode, Shim

HUNG_SECONDS = 60
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Task:
    """The points `first`, `first + step`, … of one operation. At most `points_max` of them, chosen by `seed`."""

    operation: str
    mode: Mode
    number: int = 0
    first: int = 1
    step: int = 1
    seed: int = 0
    points_max: int = 1 << 30


@dataclass(frozen=True)
class Ended:
    """How a child ended: killed, or with an error of a code and an exit status, or well (status 0)."""

    killed: bool
    status: int = 0
    code: str = ""
    text: str = ""
    fired: int = 0
    calls: int = 0
    unsynced: tuple[int, ...] = ()


class Worker:
    """Runs points in `root`, which is its own."""

    def __init__(self, root: Path) -> None:
        self._shim = Shim()
        self._template = root / "template"
        self._live = root / "live"
        self._canary = root / "canary"
        self._canary.mkdir(parents=True)
        (self._canary / "file").write_text("nobody touches this")
        self._warm(root / "warm")
        self._prepared: tuple[str, int] | None = None
        self._before = self._after = Look({})
        self._calls = 0

    @staticmethod
    def _warm(root: Path) -> None:
        """Import whatever the operations import, so that the children need not."""
        root.mkdir()
        for name in ("pull --force", "delete a name"):
            scene = scene_in(root / name[:4])
            OPERATIONS[name].prepare(scene)
            OPERATIONS[name].run(scene)
        shutil.rmtree(root)

    # --- a task -------------------------------------------------------------------------------------------------------

    def run(self, task: Task) -> dict[str, Any]:
        """Points run, and what went wrong at which."""
        work = OPERATIONS[task.operation]
        self._prepare(task.operation, work, task.seed)
        points, failures = 0, []
        began = time.monotonic()
        nths = range(task.first, self._calls + 1, task.step)
        if len(nths) > task.points_max:
            nths = sorted(random.Random(task.seed).sample(nths, task.points_max))
        for nth in nths:
            try:
                points += self._point(work, task, nth)
            except Exception as error:
                place = f"{task.operation}, {task.mode.name} {errno.errorcode.get(task.number, '')} at {nth}"
                failures.append(f"{place} of {self._calls} (seed {task.seed}): {_told(error)}")
            if len(failures) >= 5:
                break
        return {"points": points, "failures": failures, "calls": self._calls, "seconds": time.monotonic() - began}

    def _prepare(self, name: str, work: Operation, seed: int) -> None:
        if self._prepared == (name, seed):
            return
        for path in (self._live, self._template):
            shutil.rmtree(path, ignore_errors=True)
        self._live.mkdir()
        done = self.fork(lambda: work.prepare(scene_in(self._live)))
        assert done.status == 0 and not done.killed, done
        self._before = look_at(self._live)
        if work.resumed:
            self._live.rename(self._template)
            calls = self._undisturbed(work)
            self._template.rename(self._live)
            nth = random.Random(seed).randint(calls // 4, calls)
            self.fork(lambda: work.run(scene_in(self._live)), Mode.KILL, nth, exchanges=work.exchanges)
        self._live.rename(self._template)
        self._calls = self._undisturbed(work)
        self._prepared = (name, seed)

    def _undisturbed(self, work: Operation) -> int:
        """Run it on a copy; note what it leaves, and count its calls."""
        self._copy()
        done = self.fork(lambda: work.run(scene_in(self._live)), Mode.COUNT, exchanges=work.exchanges)
        assert done.status == 0 and not done.killed, done
        self._after = look_at(self._live)
        shutil.rmtree(self._live)
        return done.calls

    def _copy(self) -> None:
        shutil.rmtree(self._live, ignore_errors=True)
        shutil.copytree(self._template, self._live, symlinks=True)

    # --- a point ------------------------------------------------------------------------------------------------------

    def _point(self, work: Operation, task: Task, nth: int) -> bool:
        self._copy()
        canary = oracle.outside(self._canary)
        ended = self.fork(lambda: work.run(scene_in(self._live)), task.mode, nth, task.number, exchanges=work.exchanges)
        now = look_at(self._live)
        oracle.allow(now, self._before, self._after)
        if task.mode in (Mode.FAIL, Mode.FAIL_ON):
            self._is_right_refusal(ended, task.number, now)
        elif not ended.killed and ended.status:
            raise Broken(f"it was to be killed, and failed by itself: {ended.text}")
        self._none_trusted(ended.unsynced)
        again = self.fork(lambda: work.run(scene_in(self._live)), exchanges=work.exchanges)
        if again.killed or (again.status and not (again.code == work.already and now.versions == self._after.versions)):
            raise Broken(f"the same command again fails: {again.text or again}")
        final = look_at(self._live)
        if final != self._after:
            raise Broken(f"the same command again leaves {final}, not {self._after}")
        if task.mode is Mode.FAIL:  # for good, not even the file could be removed
            self._none_trusted(ended.unsynced)
        if oracle.outside(self._canary) != canary:
            raise Broken("something outside was touched")
        return ended.killed or ended.fired > 0

    def _is_right_refusal(self, ended: Ended, number: int, now: Look) -> None:
        if ended.killed:
            raise Broken(f"it died or hung: {ended}")
        if not ended.status:
            if now.versions != self._after.versions:
                raise Broken("it says that all is well, and is not done")
            return
        right = {8} if number in FULL else {4} if number == errno.EROFS else {1}
        if ended.status not in right or ended.code != ("NO-SPACE" if number in FULL else "LOCAL-IO"):
            raise Broken(f"wrong refusal, {ended.code} with exit {ended.status}: {ended.text}")

    def _none_trusted(self, unsynced: tuple[int, ...]) -> None:
        """A file whose fsync failed may have lost its bytes without telling: it must never show."""
        shown = [*self._live.glob("*/models/*/*/**/*"), *self._live.glob("remote/models/**/*")]
        shown += self._live.glob("remote/files/**/*")
        for path in shown if unsynced else []:
            if path.is_file() and path.stat().st_ino in unsynced:
                raise Broken(f"{path} is visible, and its fsync failed")

    # --- children -----------------------------------------------------------------------------------------------------

    def fork(
        self,
        act: Callable[[], object],
        mode: Mode = Mode.OFF,
        nth: int = 0,
        number: int = 0,
        *,
        exchanges: bool = True,
    ) -> Ended:
        """Run `act` in a child whose `nth` call is disturbed."""
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(HUNG_SECONDS)
            os.close(readable)
            if not exchanges:
                self._shim.forbid_exchange()
            self._shim.arm(mode, nth, number, prefix=self._live)
            told = json.dumps(asdict(self._ended(act))).encode()
            os.write(writable, told)
            os._exit(0)
        os.close(writable)
        with os.fdopen(readable, "rb") as pipe:
            told = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == -signal.SIGKILL:
            return Ended(killed=True)
        if status or not told:
            raise Broken(f"the child ended with {status}, hung or crashed")
        return Ended(**{**json.loads(told), "unsynced": tuple(json.loads(told)["unsynced"])})

    def _ended(self, act: Callable[[], object]) -> Ended:
        failure, text = None, ""
        try:
            act()
        except BaseException as error:
            failure = exits.diagnose(error)
            text = "".join(traceback.format_exception(error))[-3000:]
        fired, calls, unsynced = self._shim.fired, self._shim.calls, tuple(self._shim.unsynced)
        self._shim.arm(Mode.OFF, prefix=self._live)
        if failure is None:
            return Ended(False, fired=fired, calls=calls, unsynced=unsynced)
        return Ended(False, failure.status, failure.code, text, fired, calls, unsynced)


def _told(error: BaseException) -> str:
    if isinstance(error, Broken):
        return str(error)
    return "".join(traceback.format_exception(error))[-3000:]


def main() -> None:
    warnings.simplefilter("ignore")
    worker = Worker(Path(sys.argv[1]))
    gc.disable()
    gc.freeze()
    for line in sys.stdin:
        task = json.loads(line)
        result = worker.run(Task(**{**task, "mode": Mode[task["mode"]]}))
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
