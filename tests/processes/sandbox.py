"""A container without a container runtime: a root made of mounts, and a user and an environment of its own.

The root is a small file system in memory into which the folders of this machine are bound, read-only if the container's
are. Volumes are folders of a test, bound where the container wants them. Everything lives in a mount namespace that
vanishes with the process, so nothing has to be undone; only root can make one.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.tally import skip_or_fail

REPOSITORY = Path(__file__).parents[2]
NEEDED = ("unshare", "mount", "chroot", "env")
KERNEL = ("dev", "proc", "sys")
REPLACED = ("tmp", "old_root", "lost+found")
"""Not bound: a container has a `/tmp` of its own, and the others are this machine's."""


@dataclass(frozen=True)
class Volume:
    """A folder of the host, seen as `at` inside."""

    folder: Path
    at: str
    read_only: bool = False


@dataclass(frozen=True)
class Sandbox:
    """How the process lives. `root` is an empty folder where its root is mounted."""

    root: Path
    uid: int = 0
    gid: int = 0
    volumes: Sequence[Volume] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    umask: int = 0o022
    groups: Sequence[int] = ()
    """Groups besides `gid`."""
    first: bool = False
    """Whether it is process 1 of a process namespace."""

    def run(self, *command: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        process = self.start(*command)
        stdout, stderr = process.communicate(timeout=seconds)
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)

    def several(self, *lines: str) -> subprocess.CompletedProcess[str]:
        """Run command lines of bentosync one after the other, up to the first that fails; starts Python only once."""
        return self.run("python", "-m", "tests.processes.several", *lines)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command; `bentosync` and `python` are those of this environment."""
        namespaces = ["--mount", "--propagation", "private"]
        if self.first:
            namespaces += ["--pid", "--fork", "--kill-child"]
        script = "\n".join(self._script(command))
        return subprocess.Popen(
            ["unshare", *namespaces, "sh", "-ec", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def _script(self, command: Sequence[str]) -> Iterator[str]:
        root = shlex.quote(str(self.root))
        yield f"mount -t tmpfs -o mode=755 sandbox {root}"
        yield f"mkdir -p -m 1777 {root}/tmp"
        # Volumes before Python: this checkout may lie where one of them is wanted.
        for volume in self.volumes:
            inside = shlex.quote(f"{self.root}{volume.at}")
            yield f"mkdir -p {inside}; mount --bind {shlex.quote(str(volume.folder))} {inside}"
            if volume.read_only:
                yield f"mount -o remount,bind,ro {inside}"
        for folder in sorted(self._bound()):
            inside = shlex.quote(str(self.root / folder.relative_to("/")))
            yield f"mkdir -p {inside}; mount --rbind {shlex.quote(str(folder))} {inside}"
            if self.read_only and folder.name not in KERNEL:
                yield f"mount -o remount,bind,ro {inside}"
        if self.first:
            yield f"mount -t proc proc {root}/proc"
        for link in (path for path in Path("/").iterdir() if path.is_symlink()):
            yield f"ln -s {shlex.quote(os.readlink(link))} {root}/{link.name}"
        if self.read_only:
            yield f"mount -o remount,ro {root}"
        yield f"umask {self.umask:03o}"
        environment = {"PATH": f"{Path(sys.prefix) / 'bin'}:/stand-ins:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1",
                       "PYTHONPATH": str(REPOSITORY)}  # fmt: skip
        settings = [f"{name}={value}" for name, value in (environment | dict(self.environment)).items()]
        whole = [
            "chroot",
            f"--userspec={self.uid}:{self.gid}",
            f"--groups={','.join(map(str, (self.gid, *self.groups)))}",
            str(self.root),
        ]
        yield f"exec {shlex.join([*whole, 'env', '-i', *settings, *command])}"

    def _bound(self) -> set[Path]:
        """What of this machine is inside: its folders, of those closed to others only what Python needs."""
        folders = {path for path in Path("/").iterdir() if path.is_dir() and not path.is_symlink()}
        taken = {Path(volume.at).parts[1] for volume in self.volumes}
        open_ones = {path for path in folders if path.stat().st_mode & 0o005 == 0o005 and path.name not in taken}
        kept = {path for path in open_ones if path.name not in REPLACED}
        python = {Path(sys.prefix), Path(sys.base_prefix), REPOSITORY}
        return kept | {path for path in python if not any(path.is_relative_to(folder) for folder in kept)}


def required() -> None:
    """Skip loudly where no sandbox can be made."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        skip_or_fail(f"a sandbox needs root and {', '.join(missing) or 'mount namespaces'} (scripts/bootstrap)")
    probe = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True)
    if probe.returncode:
        skip_or_fail(f"a sandbox needs namespaces: {probe.stderr.strip()}")
