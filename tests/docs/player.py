"""Play a page: `python player.py` with a JSON list of blocks on stdin (see `tests.docs.page`), in this folder.

Python blocks share one namespace, as in a notebook; a shell block leaves its folder and its environment to the next
one, as in a terminal. Ends with 1 at the first block that does not do what the page says, named by page and line.
"""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

_SHELL = """trap 'status=$?; env -0 >"$PLAYER_STATE"; exit $status' EXIT
set -eo pipefail
"""
_SECONDS_MAX = 60
_SAID_CHARS = 3000


class Wrong(Exception):
    """A block did something else than the page says."""


def play(block: dict[str, Any], page: str, names: dict[str, Any]) -> None:
    """Do what one block says."""
    if block["verb"] == "file":
        Path(block["what"]).parent.mkdir(parents=True, exist_ok=True)
        Path(block["what"]).write_text(block["text"], "utf-8")
    elif block["language"] == "python":
        exec(compile("\n" * (block["line"] - 1) + block["text"], page, "exec"), names)
    elif block["language"] == "bash":
        shell(block["text"], int(block["what"] or 0))
    else:
        for command, printed in console(block["text"]):
            said = shell(command, 0)
            if not fnmatch.fnmatchcase(said.rstrip(), pattern(printed)):
                raise Wrong(f"$ {command}\nprinted\n{said}\nand not\n{printed}")


def shell(text: str, status: int) -> str:
    """Run commands in bash, stopping at the first that fails; what they printed on stdout."""
    state = Path(os.environ["PLAYER_STATE"])
    done = subprocess.run(
        ["bash", "-c", _SHELL + text],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS_MAX,
        check=False,
    )
    if done.returncode != status:
        said = (done.stdout + done.stderr)[-_SAID_CHARS:]
        raise Wrong(f"{text}\nended with {done.returncode}, not {status}:\n{said}")
    if state.exists():  # not after `exec`
        os.environ.clear()
        os.environ.update(pair.split("=", 1) for pair in state.read_text("utf-8").split("\0") if pair)
        os.chdir(os.environ["PWD"])
        state.unlink()
    return done.stdout


def console(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it prints."""
    commands: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], ""))
        else:
            command, printed = commands[-1]
            commands[-1] = (command, f"{printed}{line}\n")
    return commands


def pattern(printed: str) -> str:
    """What `fnmatch` takes for it: only `…` stands for anything."""
    return "".join(
        "*" if letter == "…" else f"[{letter}]" if letter in "[?*" else letter for letter in printed.rstrip()
    )


def main() -> int:
    """Play all blocks."""
    page, given = json.load(sys.stdin)
    names: dict[str, Any] = {"__name__": "__main__"}
    sys.path.insert(0, str(Path.cwd()))
    for block in given:
        try:
            play(block, page, names)
        except Exception as error:
            said = str(error) if isinstance(error, Wrong) else traceback.format_exc()
            print(f"{page}:{block['line']}: {said}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
