"""The global options: accepted before the command and after it, shown in a section of their own.

`bentosync --json list` and `bentosync list --json` mean the same; where both are given the later one wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from bentosync.cli.session import Session, pass_session, session_of
from bentosync.errors import NotFound

_NEAREST = "bentosync.cli.nearest_remote"


class GlobalOption(click.Option):
    """An option whose value goes into the session instead of the command's arguments."""

    def __init__(self, *names: str, **settings: Any) -> None:
        super().__init__(list(names), expose_value=False, callback=_remember, **settings)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value not in (None, 0) or value is False:
        setattr(session_of(context), str(parameter.name), value)


def global_options() -> list[click.Parameter]:
    """A fresh set, for one command."""
    modes = click.Choice(["auto", "bar", "plain", "json", "none"])
    return [
        GlobalOption("--remote", metavar="NAME|URL", help="The remote to use.", shell_complete=_complete_remotes),
        GlobalOption("--store", "store_dir", metavar="DIR", type=click.Path(path_type=Path),
                     help="BentoML home to use instead of $BENTOML_HOME."),
        GlobalOption("--offline", flag_value=True, default=None, type=bool, help="Never open a socket."),
        GlobalOption("-q", "--quiet", flag_value=True, default=None, type=bool,
                     help="Print only the essential: a path, a tag."),
        GlobalOption("-v", "--verbose", "verbosity", count=True, help="Say more; -vv also shows tracebacks."),
        GlobalOption("--json", flag_value=True, default=None, type=bool, help="Print the result as one JSON document."),
        GlobalOption("--progress", type=modes, help="How to show progress on stderr."),
        GlobalOption("--color", type=click.Choice(["auto", "always", "never"]), help="When to colour."),
    ]  # fmt: skip


class Command(click.Command):
    """A command that takes the global options too.

    `needs_settings=False` is for what must work even where a config file is broken.
    """

    def __init__(self, *args: Any, needs_settings: bool = True, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params.extend(global_options())
        self._needs_settings = needs_settings

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Two sections instead of one."""
        write_options(self.get_params(ctx), ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Start the session, then do the work."""
        if self._needs_settings:
            session_of(ctx).start(ctx)
        return super().invoke(ctx)


class BentomlCommand(Command):
    """A command with the options that every command of BentoML takes, in our terms."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params.extend(
            [
                GlobalOption("--context", "remote", metavar="NAME", help="BentoML's word for --remote."),
                GlobalOption("--debug", "verbosity", flag_value=2, default=None, type=int, help="The same as -vv."),
                click.Option(["--do-not-track"], is_flag=True, expose_value=False,
                             help="Accepted as BentoML accepts it; nobody is tracked."),
            ]
        )  # fmt: skip


class TwoSided(Command):
    """A command that works on the store, and with `--remote` on a remote.

    There the option's value may be missing (then the default remote is meant): what follows is taken for a remote if
    one of that name is configured, or if it is a URL or a path, which no tag can be.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put an empty value after a bare `--remote`."""
        session = session_of(ctx)
        spelled: list[str] = []
        for index, argument in enumerate(args):
            spelled.append(argument)
            if argument == "--remote":
                value = args[index + 1] if index + 1 < len(args) else ""
                remotes = session.resolved.settings.remotes
                if "/" not in value and value not in remotes:
                    import difflib  # only a mistake pays for it

                    spelled[-1] = "--remote="
                    ctx.meta[_NEAREST] = next(iter(difflib.get_close_matches(value, remotes, n=1)), None)
        return super().parse_args(ctx, spelled)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; a model that is not found may have been meant as a remote."""
        try:
            return super().invoke(ctx)
        except NotFound as error:
            if (remote := ctx.meta.get(_NEAREST)) is not None:
                error.hint = f"{error.hint}\nor, if a remote was meant: --remote {remote}"
            raise


def write_options(parameters: Iterable[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The command's own options, then the global ones."""
    own: list[tuple[str, str]] = []
    shared: list[tuple[str, str]] = []
    for parameter in parameters:
        record = None if isinstance(parameter, click.Argument) else parameter.get_help_record(ctx)
        if record is not None:
            (shared if isinstance(parameter, GlobalOption) else own).append(record)
    for title, records in (("Options", own), ("Global options", shared)):
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


def _complete_remotes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in sorted(session_of(context).settings.remotes) if name.startswith(incomplete)]


def complete_models(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names and tags in the local store that begin with `incomplete`; only folder names are read, no network."""
    models = session_of(context).settings.home / "models"
    name, colon, version = incomplete.partition(":")
    if not models.is_dir():
        return []
    if not colon:
        return sorted(entry.name for entry in models.iterdir() if entry.is_dir() and entry.name.startswith(name))
    versions = models / name
    if not versions.is_dir():
        return []
    return sorted(
        f"{name}:{entry.name}" for entry in versions.iterdir() if entry.is_dir() and entry.name.startswith(version)
    )


__all__ = [
    "Command",
    "GlobalOption",
    "Session",
    "TwoSided",
    "complete_models",
    "global_options",
    "pass_session",
    "write_options",
]
