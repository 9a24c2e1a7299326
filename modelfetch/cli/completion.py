"""``completion``: print the completion script of a shell, for packages of an operating system.

``--install-completion`` edits the files of the current user, for the shell that it detects. A package
installs the scripts of all shells for all users when it is built::

    modelfetch completion bash > /usr/share/bash-completion/completions/modelfetch
    modelfetch completion zsh  > /usr/share/zsh/site-functions/_modelfetch
    modelfetch completion fish > /usr/share/fish/vendor_completions.d/modelfetch.fish

The scripts are those of typer. They call ``modelfetch`` for each Tab, so they stay valid when models,
settings and commands change.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from modelfetch.cli import options
from modelfetch.cli.output import print_json

VARIABLE: Final = "_MODELFETCH_COMPLETE"
"""Environment variable in which the scripts ask for completion; typer derives it from the program's name."""


_ZSH_REGISTERS = "\ncompdef _modelfetch_completion modelfetch"
_ZSH_AUTOLOADS = """
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _modelfetch_completion "$@"
else
  compdef _modelfetch_completion modelfetch
fi"""
"""A file of ``site-functions`` is loaded at the first Tab, which it must answer; typer's only registers."""


class Shell(StrEnum):
    """Shells for which a script exists."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False)],
    json: options.Json = False,
) -> None:
    """Print the completion script of a shell, for packages.

    To install completion for yourself, use `modelfetch --install-completion`.
    """
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name="modelfetch", complete_var=VARIABLE, shell=shell.value)
    if shell is Shell.ZSH:
        script = script.replace(_ZSH_REGISTERS, _ZSH_AUTOLOADS)
    if json:
        print_json({"shell": shell.value, "script": script})
    else:
        print(script)  # not by print_line, which shows text of others: this is code, and contains none
