"""completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    For bash: rubicon completion bash > /etc/bash_completion.d/rubicon
    """
    from rubicon.cli.main import rubicon

    found = get_completion_class(shell)
    assert found is not None  # the choice above names click's own
    click.echo(found(rubicon, {}, "rubicon", "_RUBICON_COMPLETE").source())


COMMAND = completion
