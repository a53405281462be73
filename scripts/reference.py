#!/usr/bin/env python
"""Write docs/reference/{cli,errors,settings}.md from the code; with --check only say whether they are up to date."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from msgspec.structs import fields

from bentosync import errors
from bentosync.cli import amounts, exits
from bentosync.cli.group import LazyGroup
from bentosync.cli.main import root
from bentosync.cli.options import GlobalOption
from bentosync.settings import Settings, TransferSettings
from bentosync.settings.keys import KEYS, REMOTE_KEYS, Key

FOLDER = Path(__file__).parent.parent / "docs/reference"
MADE = "<!-- made by scripts/reference.py; do not edit -->"


def main() -> str | None:
    """Compare or write the pages."""
    stale = []
    for name, lines in (("cli.md", cli_page()), ("errors.md", errors_page()), ("settings.md", settings_page())):
        path, text = FOLDER / name, "\n".join(lines) + "\n"
        if not path.is_file() or path.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                FOLDER.mkdir(exist_ok=True)
                path.write_text(text)
    if stale and "--check" in sys.argv:
        return f"out of date: {', '.join(stale)}; run scripts/reference.py"
    return None


def cli_page() -> Iterator[str]:
    """Every command with its options, the global options, the exit statuses."""
    yield from ("# The command line", "", MADE, "")
    yield from (
        "stdout carries the result and nothing else; whatever is said to a person goes to stderr. An error is one",
        "line, `error[CODE]: message`, and a line `try:` with what to do; with `--json` it is one JSON document.",
        "",
    )
    yield from ("## Global options", "", "Before the command or after it.", "")
    context = click.Context(root, info_name="bentosync")
    yield from options(root, context, shared=True)
    for command, inner in commands(root, context):
        yield from ("", f"## {inner.command_path}", "", f"`{usage(command, inner)}`", "")
        yield from prose(command.help or "")
        own = list(options(command, inner, shared=False))
        if own:
            yield from ("", *own)
    yield from ("", "## Exit statuses", "")
    yield from (line for line in (exits.__doc__ or "").splitlines() if line.startswith("|"))


def prose(text: str) -> Iterator[str]:
    """Help text as Markdown: what click must not rewrap is a code block."""
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if number:
            yield ""
        lines = paragraph.splitlines()
        yield from ("```", *lines[1:], "```") if lines[0].strip() == "\b" else lines


def commands(group: LazyGroup, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """All commands below `group`, depth first."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, parent=context, info_name=name)
        if isinstance(command, LazyGroup):
            yield from commands(command, inner)
        else:
            yield command, inner


def usage(command: click.Command, context: click.Context) -> str:
    """The usage line without the placeholder of the options."""
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    return " ".join([context.command_path, *pieces])


def options(command: click.Command, context: click.Context, *, shared: bool) -> Iterator[str]:
    """A list item per option."""
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            continue
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, GlobalOption) == shared:
            yield f"- `{record[0]}` {linked(record[1])}"


def linked(text: str) -> str:
    """A help text with the pages it names as links."""
    return re.sub(r"docs/(\S+?)\.md", r"[\1](../\1.md)", text)


def errors_page() -> Iterator[str]:
    """Every family of errors, the exit statuses, and how to use both."""
    yield from ("# Errors and exit statuses", "", MADE, "")
    yield from (
        "Every error that is raised on purpose is a `bentosync.BentoMLException`; the classes are in",
        "`bentosync.errors`. `error.message` says what happened to which object, `error.hint` what to do next,",
        "`error.code` is a word that scripts may match. On the command line it is `error[CODE]: message` and",
        "`try: hint` on stderr, with `--json` one line there:",
        '`{"v": 1, "event": "error", "code": …, "message": …, "try": […], "exit": …}`.',
        "",
        "| Code | Class | Is a | Exit status | Retried | Meaning |",
        "|---|---|---|---|---|---|",
    )
    for kind in families(errors.BentoMLException):
        parents = ", ".join(f"`{parent.__name__}`" for parent in kind.__bases__)
        retried = "by itself" if kind.retryable else ""
        meaning = " ".join(inspect.getdoc(kind).split("\n\n")[0].split())
        yield f"| `{kind.code}` | `{kind.__name__}` | {parents} | {status(kind)} | {retried} | {meaning} |"
    yield from ("", "A refusal of the local disk for lack of permission exits with 4, whatever its code.")
    yield from ("", "## Exit statuses", "")
    yield from (line for line in (exits.__doc__ or "").splitlines() if line.startswith("|"))
    yield from ("", "The same command resumes what was cut off.")


def families(kind: type[errors.BentoMLException]) -> Iterator[type[errors.BentoMLException]]:
    """A class and all below it, depth first, in the order of the source."""
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from families(below)


def status(kind: type[errors.BentoMLException]) -> int:
    """The exit status of an error of exactly this class."""
    return next(number for family, number in exits.EXITS if issubclass(kind, family))


def settings_page() -> Iterator[str]:
    """Every setting with its variable, type, default and meaning."""
    yield from ("# Settings", "", MADE, "")
    yield from (
        "Order: command-line option, environment variable, `./bentosync.toml`, `[tool.bentosync]` of",
        "`./pyproject.toml`, `$XDG_CONFIG_HOME/bentosync/config.toml` (else `~/.config/…`), default.",
        "`bentosync config list --show-origin` shows what holds and why. An unknown key or a wrong type is an error",
        "that names the file and the key.",
        "",
        "Sizes are bytes or strings such as `512MiB`. Paths may use `~` and `$NAME`; a relative one starts at its",
        "file.",
        "",
        "| Key | Variable | Type | Default | Meaning |",
        "|---|---|---|---|---|",
    )
    for key in KEYS:
        yield f"| `{key.name}` | {f'`{key.env}`' if key.env else ''} | {key.kind} | {default(key)} | {key.summary} |"
    yield from ("", "## Remotes", "", "Each remote is a table `[remote.NAME]`.", "")
    yield from ("| Key | Type | Meaning |", "|---|---|---|")
    for key in REMOTE_KEYS:
        yield f"| `{key.name}` | {key.kind} | {key.summary} |"
    yield from (
        "",
        "A config file holds no secrets: credentials come from botocore's chain (environment, profile, SSO, instance).",
        "",
        "## Terminal",
        "",
        "`NO_COLOR`, `FORCE_COLOR`, `TERM=dumb` and `CI` mean what they mean elsewhere.",
    )


def default(key: Key) -> str:
    """The default as a reader wants it."""
    section, _, name = key.name.rpartition(".")
    computed = {"store.home": "`~/bentoml`", "store.state_dir": "`.bentosync` in the home",
                "store.cache_dir": "`$XDG_CACHE_HOME/bentosync`"}  # fmt: skip
    if key.name in computed:
        return computed[key.name]
    kind = TransferSettings if section == "transfer" else Settings
    value = next(field.default for field in fields(kind) if field.name == name)
    if key.kind == "size":
        return f"`{amounts.brief(value)}`"
    return "" if value is None else f"`{str(value).lower()}`"


if __name__ == "__main__":
    sys.exit(main())
