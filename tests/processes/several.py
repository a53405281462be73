"""Several command lines one after the other, each in a fork of a process that has imported them:
`python -m tests.processes.several "pull m:v1" "list"`. Ends with the first status that is not 0.
"""

from __future__ import annotations

import os
import shlex
import sys

from bentosync.cli.commands import cache, delete, gc, get, list, pull, push, verify  # noqa: F401
from bentosync.cli.main import main


def run(line: str) -> int:
    """The exit status of a command line."""
    print(f"$ bentosync {line}", file=sys.stderr, flush=True)
    child = os.fork()
    if child == 0:
        sys.argv = ["bentosync", *shlex.split(line)]
        status = 1
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        if status := run(wanted):
            sys.exit(status)
