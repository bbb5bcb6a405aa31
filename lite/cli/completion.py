"""`lite completion`: the line that a shell's start-up file wants."""

import click
from click.shell_completion import get_completion_class

from lite.cli.options import common_options

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common_options
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the shell's completion script.

    \b
      bash: echo 'eval "$(lite completion bash)"' >> ~/.bashrc
      zsh:  echo 'eval "$(lite completion zsh)"' >> ~/.zshrc
      fish: lite completion fish > ~/.config/fish/completions/lite.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # click knows the three shells that the argument admits
    click.echo(kind(context.find_root().command, {}, "lite", "_LITE_COMPLETE").source())
