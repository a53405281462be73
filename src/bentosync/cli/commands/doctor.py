"""`bentosync doctor`: what an issue report needs, one line each, never a secret."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from importlib import metadata

import click
from msgspec import Struct

from bentosync.cli import amounts, exits
from bentosync.cli.options import Command
from bentosync.cli.session import Session, pass_session

LIBRARIES = ("aiohttp", "blake3", "botocore", "click", "numpy", "safetensors", "xxhash")


class Finding(Struct, frozen=True):
    """One line. `ok` is None for plain information."""

    topic: str
    text: str
    ok: bool | None = None


@click.command(cls=Command)
@pass_session
def doctor(session: Session) -> None:
    """Report on versions, store, device and remotes.

    Reads and writes only inside the store, and lists each configured remote. Exit status 1 if something is wrong.
    """
    findings = []
    for examine in (_versions, _native, _event_loop, _store, _torch, _remotes):
        for finding in _guarded(session, examine):
            findings.append(finding)
            if not session.json:
                mark = {True: "ok  ", False: "BAD ", None: "    "}[finding.ok]
                session.result(f"{mark}{finding.topic:<12}{finding.text}")
    healthy = all(finding.ok is not False for finding in findings)
    if session.json:
        lines = [{"topic": found.topic, "text": found.text, "ok": found.ok} for found in findings]
        session.document({"ok": healthy, "findings": lines})
    if not healthy:
        click.get_current_context().exit(exits.FAILED)


def _guarded(session: Session, examine: Callable[[Session], Iterator[Finding]]) -> Iterator[Finding]:
    """A doctor must survive every illness: what goes wrong in an examination is its finding."""
    try:
        yield from examine(session)
    except Exception as error:
        yield Finding(examine.__name__.strip("_"), exits.diagnose(error).message, ok=False)


def _versions(session: Session) -> Iterator[Finding]:
    yield Finding("bentosync", metadata.version("bentosync"))
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("libraries", ", ".join(f"{name} {_version_of(name)}" for name in LIBRARIES))


def _native(session: Session) -> Iterator[Finding]:
    from bentosync.native import checksum, receiving, select

    mode = session.settings.native
    fast = "fast" if checksum.fast_crc64nvme(native=mode) else "slow"
    yield Finding("native core", f"{'yes' if select.compiled(mode) else 'no, pure Python'}; CRC64NVME {fast}")
    openssl = receiving.openssl_version(mode)
    yield Finding("bodies", f"received by the native core, {openssl}" if openssl else "received in Python")


def _event_loop(session: Session) -> Iterator[Finding]:
    from bentosync.blocking import new_loop

    loop = new_loop()
    loop.close()
    found = type(loop).__module__.partition(".")[0]
    yield Finding("event loop", f"{found} {_version_of(found)}" if found == "uvloop" else f"{found}; uvloop not found")


def _store(session: Session) -> Iterator[Finding]:
    from bentosync.cli.disk import examine

    settings = session.settings
    disk = examine(settings.home)
    words = {True: "yes", False: "no", None: "not tried"}
    state = "" if disk.exists else "not there yet, "
    yield Finding(
        "store",
        f"{settings.home}: {state}{disk.file_system}, {amounts.brief(disk.free_bytes)} free, "
        f"{'writable' if disk.writable else 'read-only'}, reflink {words[disk.reflink]}, locks {words[disk.locks]}",
        ok=disk.locks is not False,
    )


def _torch(session: Session) -> Iterator[Finding]:
    number = _version_of("torch")
    if number == "missing":
        yield Finding("torch", 'missing; load needs it: pip install "bentosync[torch]"')
        return
    from bentosync.loader import device

    why = device.why_no_cuda(device.parse_device("cuda"))
    yield Finding("torch", f"{number}, {'CUDA works' if why is None else why}")


def _remotes(session: Session) -> Iterator[Finding]:
    from bentosync.cli.probe import known, reach
    from bentosync.cli.running import run
    from bentosync.remote.contract import Forbidden

    remotes = session.settings.remotes

    if not remotes:
        yield Finding("remotes", "none configured")
    for name, remote in sorted(remotes.items()):
        if session.settings.offline and not remote.url.startswith("file:"):
            yield Finding("remote", f"{name}: {remote.url}: not asked (offline)")
            continue
        facts = run(known(remote, session.settings), session.interrupted)
        how = "".join(f", {label} {value}" for label, value in facts)
        try:
            run(reach(remote, session.settings), session.interrupted)
        except Forbidden:
            refused = f"reachable, listing is refused; what is not: bentosync remote test {name}"
            yield Finding("remote", f"{name}: {remote.url}{how}: {refused}", ok=True)
        except Exception as error:
            failure = exits.diagnose(error)
            yield Finding("remote", f"{name}: {remote.url}{how}: {failure.code}: {failure.message}", ok=False)
        else:
            yield Finding("remote", f"{name}: {remote.url}{how}: reachable", ok=True)


def _version_of(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"
