"""Groups whose commands are imported when they run, so that `bentosync --help` pays for none of them.

The summary of each command stands in the table beside its address; a test compares it with the command's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

import click
from msgspec import Struct

from bentosync.cli.options import global_options, write_options


class Lazy(Struct, frozen=True):
    """Where a command lives (`module:attribute`), what it does in one line, and its other names."""

    address: str
    summary: str
    aliases: tuple[str, ...] = ()


class LazyGroup(click.Group):
    """A group made from a table of `Lazy` entries."""

    def __init__(self, *args: Any, table: Mapping[str, Lazy], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._table = table
        self._names = {alias: name for name, entry in table.items() for alias in (name, *entry.aliases)}
        # click suggests from this mapping when a name is mistyped; the values are never used.
        self.commands = dict.fromkeys(self._names, click.Command(None))
        self.params.extend(global_options())

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the table's order: the order of use, not of the alphabet."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in self._names:
            return None
        module, _, attribute = self._table[self._names[cmd_name]].address.partition(":")
        return cast(click.Command, getattr(import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self._table.items()])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options in two sections, then the commands."""
        write_options(self.get_params(ctx), ctx, formatter)
        self.format_commands(ctx, formatter)
