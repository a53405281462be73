"""What every test may use: coroutine tests, and real servers that start once a session."""

from __future__ import annotations

import asyncio
import inspect
import signal

import pytest

pytest_plugins = ["bentosync.testing", "tests.tally", "tests.servers.fixtures"]

# A shell that starts the tests in the background has them ignore Ctrl-C, and Python then leaves it at that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests in a fresh event loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True
