"""The program: the table of commands, and the one place where every outcome becomes a message and an exit status."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from bentosync.cli import exits, interrupt
from bentosync.cli.group import Lazy, LazyGroup
from bentosync.cli.session import Session
from bentosync.errors import BatchFailed
from bentosync.redaction import without_secrets

_COMMANDS = "bentosync.cli.commands"
_OBJECTS_BETWEEN_COLLECTIONS = 50_000

COMMANDS = {
    "pull": Lazy(f"{_COMMANDS}.pull:pull", "Fetch models from a remote into the local store."),
    "push": Lazy(f"{_COMMANDS}.push:push", "Send models from the local store to a remote."),
    "list": Lazy(f"{_COMMANDS}.list:list_models", "List the models of the local store or of a remote.", ("ls",)),
    "get": Lazy(f"{_COMMANDS}.get:get", "Show one model of the local store.", ("inspect",)),
    "delete": Lazy(f"{_COMMANDS}.delete:delete", "Delete models from the local store or a remote.", ("rm",)),
    "export": Lazy(f"{_COMMANDS}.export_model:export", "Write a model to an archive or a folder."),
    "import": Lazy(f"{_COMMANDS}.import_model:import_models", "Read archives or folders into the local store."),
    "verify": Lazy(f"{_COMMANDS}.verify:verify", "Check the files of models against their digests."),
    "alias": Lazy(f"{_COMMANDS}.alias:alias", "Name versions of a remote, as in m@prod."),
    "copy": Lazy(f"{_COMMANDS}.copy:copy", "Copy a model from one remote to another."),
    "cache": Lazy(f"{_COMMANDS}.cache:cache", "Show what the store holds, and make room in it."),
    "gc": Lazy(f"{_COMMANDS}.gc:gc", "Remove what interrupted work left behind."),
    "load": Lazy(f"{_COMMANDS}.load:load", "Load a model's tensors once and report how fast it went."),
    "bench": Lazy(f"{_COMMANDS}.bench:bench", "Measure with your own model."),
    "models": Lazy(f"{_COMMANDS}.models:models", "The same commands with BentoML's options and output."),
    "remote": Lazy(f"{_COMMANDS}.remote:remote", "Add, list, remove and test remotes."),
    "config": Lazy(f"{_COMMANDS}.config:config", "Show and change settings."),
    "doctor": Lazy(f"{_COMMANDS}.doctor:doctor", "Report on versions, store, device and remotes."),
    "demo": Lazy(f"{_COMMANDS}.demo:demo", "Push, pull, verify and load a small made-up model."),
    "completion": Lazy(f"{_COMMANDS}.completion:completion", "Print the completion script of a shell."),
    "version": Lazy(f"{_COMMANDS}.version:version", "Print the version."),
}


class _ReaderGone(Exception):
    """Whoever read our stdout closed it."""


class Program(LazyGroup):
    """The root group: nothing a command raises leaves it unexplained."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a closed stdout is taken out of click's hands, which would call it a plain failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGone from None

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run, report, exit."""
        argv = list(sys.argv[1:] if args is None else args)
        session = Session(argv=tuple(argv))
        extra.pop("standalone_mode", None)
        try:
            outcome = super().main(argv, "bentosync", standalone_mode=False, obj=session, **extra)
            if sys.stdout is not None:
                sys.stdout.flush()
        except (BrokenPipeError, _ReaderGone):
            _silence()
            sys.exit(exits.BROKEN_PIPE)
        except interrupt.Interrupted as stop:
            if not stop.said:
                session.interrupted(stop.status)
            sys.exit(stop.status)
        except NoArgsIsHelpError as help_wanted:
            click.echo(help_wanted.format_message(), err=True)
            sys.exit(exits.USAGE)
        except click.Abort:
            click.echo("Aborted!", err=True)
            sys.exit(exits.FAILED)
        except Exception as error:
            status = _report(session, error)
            _flush()
            sys.exit(status)
        sys.exit(outcome if isinstance(outcome, int) else exits.OK)


@click.group(cls=Program, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bentosync", prog_name="bentosync", message="%(prog)s %(version)s")
def root() -> None:
    """Move models between a BentoML store, a bucket and a GPU.

    Exit status: 0 done, 2 usage, 3 not found, 4 permission, 5 network, 6 integrity, 7 conflict, 8 no space, 9 locked,
    10 part of a batch failed, 130 and 143 stopped by Ctrl-C and SIGTERM, 1 anything else. The same command resumes what
    was cut off.
    """


def main() -> None:
    """Entry point of the `bentosync` script."""
    interrupt.install()
    # Imports make objects that stay: looking for cycles among them every 700 is work for nothing.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal or a log that only knows ASCII gets an escape instead of a traceback.
            stream.reconfigure(errors="backslashreplace")
    try:
        root.main()
    except SystemExit as end:
        # A stopped operation may leave a worker thread deep in a hash; the interpreter would join it.
        if isinstance(end.code, int) and end.code - 128 in interrupt.SIGNALS:
            interrupt.quit_now(end.code)
        raise
    finally:
        # The interpreter would search all that is left for cycles, twice: a tenth of a pull that has nothing to do.
        gc.freeze()


def _report(session: Session, error: Exception) -> int:
    failure = exits.diagnose(error)
    if (session.verbosity or 0) >= 2:
        import traceback

        click.echo(without_secrets("".join(traceback.format_exception(error))), err=True, nl=False)
    parts = error.failures if isinstance(error, BatchFailed) else ()
    if session.json or session.lines_are_json or session.progress == "json":
        import json

        document = {"v": 1, "event": "error", **_document(failure)}
        if parts:
            document["failures"] = [{"what": what, **_document(exits.diagnose(part))} for what, part in parts]
        click.echo(without_secrets(json.dumps(document, ensure_ascii=False)), err=True)
        return failure.status
    for what, part in parts:
        _say(session, exits.diagnose(part), f"{what}: ")
    _say(session, failure)
    return failure.status


def _document(failure: exits.Failure) -> dict[str, Any]:
    hints = failure.hint.splitlines() if failure.hint else []
    return {"code": failure.code, "message": failure.message, "try": hints, "exit": failure.status}


def _say(session: Session, failure: exits.Failure, what: str = "") -> None:
    title = click.style(f"error[{failure.code}]:", fg="red", bold=True)
    click.echo(without_secrets(f"{title} {what}{failure.message}"), err=True, color=session.colorful)
    for index, hint in enumerate(failure.hint.splitlines() if failure.hint else ()):
        click.echo(without_secrets(f"  {'try:' if index == 0 else '    '} {hint}"), err=True)


def _flush() -> None:
    """Push out what stdout still holds; if the disk behind it is full, the interpreter must not try again."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        _silence()


def _silence() -> None:
    """Point stdout nowhere, so that the interpreter's last flush does not complain about the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
