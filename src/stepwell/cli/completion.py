"""``stepwell completion``: what a shell needs to complete commands and options."""

import click
from click.shell_completion import get_completion_class

from stepwell.cli.group import cli

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete `stepwell`.

    bash: eval "$(stepwell completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc;
    fish: stepwell completion fish > ~/.config/fish/completions/stepwell.fish
    """
    found = get_completion_class(shell)
    assert found is not None, "click knows these shells"
    click.echo(found(cli, {}, "stepwell", "_STEPWELL_COMPLETE").source())
