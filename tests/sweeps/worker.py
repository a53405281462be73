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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bentosync.cli import exits
from bentosync.cli import main as command_line
from tests import oracle
from tests.oracle import Broken, Look
from tests.sweeps.operations import OPERATIONS, Operation, look_at, scene_in
from tests.sweeps.shim import Mode, Shim

HUNG_SECONDS = 60
STOPPED_SECONDS_MAX = 5.0
"""Far above the second that is promised: the machine may be busy with other tests."""
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
        self._damaged: frozenset[str] = frozenset()
        self._left: object = None
        self._calls = 0
        self._stopped_seconds_max = 0.0

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
        self._stopped_seconds_max = 0.0
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
        slowest = self._stopped_seconds_max
        return {"points": points, "failures": failures, "calls": self._calls, "slowest": slowest}

    def _prepare(self, name: str, work: Operation, seed: int) -> None:
        if self._prepared == (name, seed):
            return
        for path in (self._live, self._template):
            shutil.rmtree(path, ignore_errors=True)
        self._live.mkdir()
        done = self.fork(lambda: work.prepare(scene_in(self._live)))
        assert done.status == 0 and not done.killed, done
        self._damaged = work.damaged
        self._before = self._look()
        self._live.rename(self._template)
        self._calls = self._undisturbed(work)
        if work.resumed:
            self._interrupt(work, random.Random(seed))
        self._prepared = (name, seed)

    def _interrupt(self, work: Operation, draw: random.Random) -> None:
        """Kill it once, at a call after which the next try still has something to do."""
        calls, fresh = self._calls, self._template.with_name("fresh")
        self._template.rename(fresh)
        self._calls = 0
        while not self._calls:
            shutil.rmtree(self._template, ignore_errors=True)
            shutil.copytree(fresh, self._live, symlinks=True)
            nth = draw.randint(calls // 4, calls)
            self.fork(lambda: work.run(scene_in(self._live)), Mode.KILL, nth, exchanges=work.exchanges)
            self._live.rename(self._template)
            self._calls = self._undisturbed(work)
        shutil.rmtree(fresh)

    def _undisturbed(self, work: Operation) -> int:
        """Run it on a copy; note what it leaves, and count its calls."""
        self._copy()
        done = self.fork(lambda: work.run(scene_in(self._live)), Mode.COUNT, exchanges=work.exchanges)
        assert done.status == 0 and not done.killed, done
        self._after, self._left = look_at(self._live), work.beside(scene_in(self._live))
        shutil.rmtree(self._live)
        return self._shim.calls

    def _look(self) -> Look:
        """What is there, in the middle of things."""
        return look_at(self._live, damaged=self._damaged)

    def _copy(self) -> None:
        shutil.rmtree(self._live, ignore_errors=True)
        shutil.copytree(self._template, self._live, symlinks=True)

    # --- a point ------------------------------------------------------------------------------------------------------

    def _point(self, work: Operation, task: Task, nth: int) -> bool:
        """Disturb one call; whether it came to it."""
        self._copy()
        canary = oracle.outside(self._canary)
        disturbed = self._stop(work, nth, task.number) if task.mode is Mode.SIGNAL else self._disturb(work, task, nth)
        again = self.fork(lambda: work.run(scene_in(self._live)), exchanges=work.exchanges)
        done = again.code == work.already and self._versions_are_done() if again.status else not again.killed
        if not done:
            raise Broken(f"the same command again fails: {again.text or again}")
        final = look_at(self._live)
        if final != self._after:
            raise Broken(f"the same command again leaves {final}, not {self._after}")
        if (left := work.beside(scene_in(self._live))) != self._left:
            raise Broken(f"the same command again leaves {left}, not {self._left}")
        if oracle.outside(self._canary) != canary:
            raise Broken("something outside was touched")
        return disturbed

    def _versions_are_done(self) -> bool:
        return self._look().versions == self._after.versions

    def _disturb(self, work: Operation, task: Task, nth: int) -> bool:
        ended = self.fork(lambda: work.run(scene_in(self._live)), task.mode, nth, task.number, exchanges=work.exchanges)
        fired, unsynced = self._shim.fired > 0, self._shim.unsynced
        now = self._look()
        work.beside(scene_in(self._live))
        oracle.allow(now, self._before, self._after)
        if task.mode in (Mode.FAIL, Mode.FAIL_ON):
            self._is_right_refusal(ended, task.number, now)
        elif not ended.killed and ended.status:
            raise Broken(f"it was to be killed, and failed by itself: {ended.text}")
        self._none_trusted(unsynced)
        if unsynced and task.mode is Mode.FAIL:  # on a disk that refuses for good not even the file can be removed
            self.fork(lambda: work.run(scene_in(self._live)), exchanges=work.exchanges)
            self._none_trusted(unsynced)
        return ended.killed or fired

    # --- stopped by the user ------------------------------------------------------------------------------------------

    def _stop(self, work: Operation, nth: int, signum: int) -> bool:
        """Run the command line and send it a signal in the middle of a call."""
        child = os.fork()
        if child == 0:
            signal.alarm(HUNG_SECONDS)
            self._become(work)
            self._shim.arm(Mode.SIGNAL, nth, signum, prefix=self._live)
            status = 1
            try:
                command_line.main()
            except SystemExit as end:
                status = int(end.code or 0)
            finally:
                sys.stderr.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        took = time.monotonic() - self._shim.signalled
        if not self._shim.fired:
            return False
        self._stopped_seconds_max = max(took, self._stopped_seconds_max)
        said = (self._live.parent / "said").read_text()
        now = self._look()
        work.beside(scene_in(self._live))
        oracle.allow(now, self._before, self._after)
        if status != 128 + signum and not (status == 0 and now.versions == self._after.versions):
            raise Broken(f"stopped by signal {signum} it ended with {status}: {said}")
        if "Traceback" in said or took > STOPPED_SECONDS_MAX:
            raise Broken(f"stopped by signal {signum} it took {took:.1f} s, and said {said}")
        return True

    def _become(self, work: Operation) -> None:
        """Make this process one that a user would have started."""
        base = self._live.parent
        (base / "config/bentosync").mkdir(parents=True, exist_ok=True)
        config = f'[remote.lab]\nurl = "{(self._live / "remote").as_uri()}"\n'
        (base / "config/bentosync/config.toml").write_text(config)
        os.environ |= {"BENTOML_HOME": str(self._live / work.home), "XDG_CONFIG_HOME": str(base / "config")}
        os.environ |= {"HOME": str(base), "XDG_CACHE_HOME": str(base / "cache")}
        os.chdir(base)
        said = os.open(base / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(said, stream)
        sys.argv = ["bentosync", *work.command.split()]

    # --- what a refusal must be ---------------------------------------------------------------------------------------

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

    def _none_trusted(self, unsynced: Sequence[int]) -> None:
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
        return Ended(**json.loads(told))

    def _ended(self, act: Callable[[], object]) -> Ended:
        try:
            act()
        except BaseException as error:
            self._shim.arm(Mode.OFF, prefix=self._live)
            failure = exits.diagnose(error)
            return Ended(False, failure.status, failure.code, "".join(traceback.format_exception(error))[-3000:])
        self._shim.arm(Mode.OFF, prefix=self._live)
        return Ended(False)


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
