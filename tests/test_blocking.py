from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from bentosync.blocking import in_thread, wait


async def _answer() -> int:
    await asyncio.sleep(0)
    return 42


async def _fail() -> None:
    raise LookupError("inside")


def test_it_runs_without_a_loop() -> None:
    assert wait(_answer()) == 42


def test_it_runs_on_uvloop_where_that_is_installed_and_on_asyncio_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    async def loop() -> str:
        return type(asyncio.get_running_loop()).__module__

    pytest.importorskip("uvloop")
    assert wait(loop()) == "uvloop"
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert wait(loop()).startswith("asyncio.")


def test_it_runs_inside_a_running_loop() -> None:
    async def notebook() -> int:
        return wait(_answer())

    assert asyncio.run(notebook()) == 42


def test_errors_arrive_as_themselves_in_both_cases() -> None:
    async def notebook() -> None:
        wait(_fail())

    with pytest.raises(LookupError, match="inside"):
        wait(_fail())
    with pytest.raises(LookupError, match="inside"):
        asyncio.run(notebook())


def test_threads_may_wait_side_by_side() -> None:
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(wait(_answer()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [42] * 8


def test_a_cancelled_caller_waits_until_the_thread_has_let_go() -> None:
    begun, ended = threading.Event(), threading.Event()

    def use_a_buffer() -> None:
        begun.set()
        ended.wait(5)

    async def main() -> None:
        task = asyncio.create_task(in_thread(use_a_buffer))
        while not begun.is_set():
            await asyncio.sleep(0)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
        ended.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
