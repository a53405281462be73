"""`bentosync completion SHELL`: click's completion script, to be sourced by the shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from bentosync.cli.options import Command


@click.command(cls=Command, needs_settings=False)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash: eval "$(bentosync completion bash)" in ~/.bashrc
    zsh:  eval "$(bentosync completion zsh)" in ~/.zshrc
    fish: bentosync completion fish > ~/.config/fish/completions/bentosync.fish
    """  # noqa: D301  click reads the \b
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(context.find_root().command, {}, "bentosync", "_BENTOSYNC_COMPLETE").source())
