"""A process that dies at any file-system call of a ritual leaves all of it or nothing, and the next one clears up.

A forked child runs the ritual on a `Disk` that kills it just before its n-th call, or fills the disk there; n goes up
until the ritual ends by itself. Before each check the parent looks with fresh eyes: a new store on the same folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bentosync.errors import BentoMLException, LocalIOError, NoSpace
from bentosync.store.disk import Disk
from bentosync.store.layout import Layout
from bentosync.store.store import Store
from bentosync.tag import Tag
from tests.store.trees import create, listing, pattern, write

CALLS = [name for name in vars(Disk) if not name.startswith("_")]
KILLED = 137
NEW = {"new.bin": pattern(5000, 2), "sub/x": b"x"}
OLD = {"old.bin": pattern(3000, 1)}


class Faulty(Disk):
    """A disk whose n-th call does something else first."""

    def __init__(self, nth: int, fault: Callable[[], None], *, exchanges: bool = True) -> None:
        self._left = nth
        self._fault = fault
        self._exchanges = exchanges

    def __getattribute__(self, name: str) -> Any:
        if name in CALLS:
            self._left -= 1
            if self._left == 0:
                object.__getattribute__(self, "_fault")()
        return object.__getattribute__(self, name)

    def exchange(self, one: Path, other: Path) -> bool:
        return super().exchange(one, other) if self._exchanges else False


def dies_at(nth: int, ritual: Callable[[Disk], None], *, exchanges: bool = True) -> bool:
    """Run `ritual` in a child that is killed before its n-th call; whether it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            ritual(Faulty(nth, lambda: os._exit(KILLED), exchanges=exchanges))
            status = 0
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, KILLED)
    return status == KILLED


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Memory where there is some: what a kill leaves behind is the same, and fsync costs nothing."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bentosync-test-") as root:
        yield Path(root)


def sweep(
    tmp_path: Path,
    prepare: Callable[[Path], None],
    ritual: Callable[[Path, Disk], None],
    check: Callable[[Path], str],
    *,
    exchanges: bool = True,
) -> list[str]:
    """The state `check` finds after a death before each call in turn, and after none."""
    states = []
    for nth in range(1, 200):
        home = tmp_path / str(nth)
        prepare(home)
        died = dies_at(nth, lambda disk, home=home: ritual(home, disk), exchanges=exchanges)  # type: ignore[misc]
        states.append(check(home))
        shutil.rmtree(home)
        if not died:
            return states
    raise AssertionError("the ritual never ended")


def files(home: Path, tag: str) -> set[str] | None:
    found = Store(home).find(Tag.from_str(tag))
    return None if found is None else set(listing(Path(found.path)))


def assert_cleared(home: Path) -> None:
    """After the next store was opened for writing, no trace of the dead one is left."""
    for path in Layout(home).trash.iterdir():
        if path.is_file():
            os.utime(path, (0, 0))  # a pointer on its way goes when it is an hour old
    store = Store(home)
    create(store, "other:v1", {"a": b"a"})
    store.delete("other:v1")
    layout = Layout(home)
    assert [*layout.staging.iterdir(), *layout.trash.iterdir()] == []
    assert {path.name for path in layout.models.iterdir()} <= {"m"}


def test_create_killed_anywhere_leaves_the_whole_version_or_none(tmp_path: Path) -> None:
    def check(home: Path) -> str:
        found = files(home, "m:v2")
        assert found in (None, {"new.bin", "sub", "sub/x", "model.yaml"})
        assert Store(home).get("m").tag == Tag("m", "v1" if found is None else "v2") or found is not None
        assert [str(model.tag) for model in Store(home).list()] == (["m:v1"] if found is None else ["m:v1", "m:v2"])
        assert_cleared(home)
        return "none" if found is None else "whole"

    states = sweep(tmp_path, lambda home: void(create(Store(home), "m:v1", OLD)),
                   lambda home, disk: void(create(Store(home, disk=disk), "m:v2", NEW)), check)  # fmt: skip
    assert set(states) == {"none", "whole"}
    assert states == sorted(states), "once visible, always visible"


def test_a_killed_create_can_be_repeated(tmp_path: Path) -> None:
    def check(home: Path) -> str:
        with contextlib.suppress(BentoMLException):
            create(Store(home), "m:v1", NEW)
        assert Store(home).get("m").tag == Tag("m", "v1")
        return "there"

    sweep(
        tmp_path, lambda home: home.mkdir(), lambda home, disk: void(create(Store(home, disk=disk), "m:v1", NEW)), check
    )


@pytest.mark.parametrize("target", ["m:v2", "m"])
def test_delete_killed_anywhere_leaves_the_whole_version_or_none(tmp_path: Path, target: str) -> None:
    def prepare(home: Path) -> None:
        create(Store(home), "m:v1", OLD)
        create(Store(home), "m:v2", NEW)

    def check(home: Path) -> str:
        found = files(home, "m:v2")
        assert found in (None, {"new.bin", "sub", "sub/x", "model.yaml"})
        if target == "m:v2" and found is None:
            assert Store(home).get("m").tag == Tag("m", "v1")
        assert_cleared(home)
        return "gone" if found is None else "a-whole"

    states = sweep(tmp_path, prepare, lambda home, disk: Store(home, disk=disk).delete(target), check)
    assert set(states) == {"gone", "a-whole"}
    assert states == sorted(states)


@pytest.mark.parametrize("exchanges", [True, False])
def test_replace_killed_anywhere_leaves_the_old_or_the_new_life_whole(tmp_path: Path, exchanges: bool) -> None:
    twin = Store(tmp_path / "twin")
    new = create(twin, "m:v1", NEW)
    manifest = twin.describe(new)

    def ritual(home: Path, disk: Disk) -> None:
        store = Store(home, disk=disk)
        staged = store.staging()
        write(staged, {path: data for path, data in listing(Path(new.path)).items() if data is not None})
        store.publish(staged, manifest, replace=True)
        store.drop_staging(staged)

    def check(home: Path) -> str:
        assert_cleared(home)
        found = files(home, "m:v1")
        assert found in ({"old.bin", "model.yaml"}, {"new.bin", "sub", "sub/x", "model.yaml"})
        return "new" if "new.bin" in (found or ()) else "a-old"

    states = sweep(tmp_path, lambda home: void(create(Store(home), "m:v1", OLD)), ritual, check, exchanges=exchanges)
    assert set(states) == {"new", "a-old"}


def test_a_version_deleted_after_an_interrupted_swap_does_not_come_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    model = create(store, "m:v1", OLD)
    os.rename(model.path, store.layout.trash / "swap-m:v1-0123456789abcdef")
    shutil.copytree(store.layout.trash / "swap-m:v1-0123456789abcdef", model.path)
    store.delete("m:v1")
    create(Store(tmp_path), "other:v1")
    assert Store(tmp_path).find(Tag("m", "v1")) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_disk_that_refuses_any_call_of_create_is_a_typed_error_and_leaves_no_half(
    tmp_path: Path, number: int
) -> None:
    def refuse() -> None:
        raise OSError(number, os.strerror(number))

    refused = 0
    for nth in range(1, 200):
        home = tmp_path / str(nth)
        create(Store(home), "m:v1", OLD)
        disk = Faulty(nth, refuse)
        try:
            create(Store(home, disk=disk), "m:v2", NEW)
        except LocalIOError as error:
            refused += 1
            assert isinstance(error, NoSpace) == (number in (errno.ENOSPC, errno.EDQUOT))
            assert error.__cause__ is not None
        else:
            assert files(home, "m:v2") is not None
        assert files(home, "m:v2") in (None, {"new.bin", "sub", "sub/x", "model.yaml"})
        assert_cleared(home)
        shutil.rmtree(home)
        if disk._left > 0:
            break
    assert refused > 10


_RACER = """
import sys, time
from pathlib import Path
from bentosync.errors import BentoMLException
from bentosync.store.store import Store
home, me, start = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
time.sleep(max(0, start - time.time()))
won = []
for turn in range(15):
    try:
        with Store(home).create(f"m:v{turn}") as model:
            for part in range(3):
                Path(model.path_of(f"{me}-{part}")).write_text(me)
        won.append(turn)
    except BentoMLException as error:
        assert "already exists" in str(error), error
    Store(home).get("m"), Store(home).list()
print(*won)
"""


def test_two_processes_creating_the_same_tags_win_each_exactly_once_and_never_mix(tmp_path: Path) -> None:
    import time

    start = str(time.time() + 1.0)
    racers = [
        subprocess.Popen([sys.executable, "-c", _RACER, str(tmp_path), me, start], stdout=subprocess.PIPE, text=True)
        for me in ("a", "b")
    ]
    won = [set(map(int, racer.communicate(timeout=100)[0].split())) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert won[0] | won[1] == set(range(15))
    assert not won[0] & won[1]
    for turn in range(15):
        me = "a" if turn in won[0] else "b"
        assert files(tmp_path, f"m:v{turn}") == {f"{me}-{part}" for part in range(3)} | {"model.yaml"}
    newest = max(Store(tmp_path).list("m"), key=lambda model: model.creation_time)
    assert Store(tmp_path).get("m") == newest


def void(_: object) -> None: ...
