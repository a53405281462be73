"""Run a server for as long as another process lives: `python guard.py FOLDER PROGRAM ARGUMENT...`, stdin its pipe.

The pipe ends when its other end is closed, and the kernel does that for a process that died, however it died. Then the
server is killed, and FOLDER, where its state is, is removed. If the server ends first, the guard ends with its status.
The file is run by its path, so that nothing of the package has to be imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading


def main(folder: str, command: list[str]) -> int:
    """The server's exit status, or 0 if it was told to end."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    asked = threading.Event()

    def watch() -> None:
        while os.read(0, 1):
            pass
        asked.set()
        server.kill()

    threading.Thread(target=watch, daemon=True).start()
    status = server.wait()
    if not asked.is_set():
        return status
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
