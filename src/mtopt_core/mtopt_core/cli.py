"""The command `mtopt`: finds the commands of all packages and loads the one that is called.

A package registers a command by an entry point of group `mtopt.commands`: `name = module:function` with typer's
annotations, or `name = module:app` with a `typer.Typer`. Listing them imports none of them, so that `mtopt --help`
takes no time and a command that cannot be imported hides no other.
"""

from __future__ import annotations

import ast
import sys
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from mtopt_core import environment
from mtopt_core.errors import MtoptError

GROUP = 'mtopt.commands'
_HELP = 'Many tasks, one Q-function: collect episodes on robots, learn from all of them, run what was learned.'
_EXAMPLES = """
Start here:

`mtopt demo`  collects, learns and reports, all in simulation

`mtopt bags list data`  shows the episodes of a folder

`mtopt COMMAND --help`  explains a command, with examples
"""


class CommandLoadError(MtoptError):
    """A command is installed and cannot be imported."""


def _summary(entry: EntryPoint) -> str:
    """Return a command's docstring, read without running its module; the list shows its first paragraph."""
    try:
        spec = find_spec(entry.module)
        module = ast.parse(Path(spec.origin).read_text() if spec and spec.origin else '')
    except Exception as error:
        # Whatever is wrong with one package, the list of commands is still wanted.
        return f'(cannot be loaded: {type(error).__name__}: {error})'
    functions = (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == entry.attr)
    return ast.get_docstring(next(functions, module)) or ''


def _load(entry: EntryPoint) -> Any:
    """Import a command.

    Raises:
        CommandLoadError: Its module cannot be imported.
    """
    try:
        loaded = entry.load()
    except Exception as error:
        raise CommandLoadError(
            f'command {entry.name} cannot be loaded from {entry.value}: {type(error).__name__}: {error}; '
            '`make setup` builds the workspace again'
        ) from error
    if not isinstance(loaded, typer.Typer):
        function, loaded = loaded, typer.Typer(add_completion=False)
        loaded.command(entry.name)(function)
    return typer.main.get_command(loaded)


class _Commands(TyperGroup):
    """The installed commands: listed by their docstrings, loaded when called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._entries = {entry.name: entry for entry in entry_points(group=GROUP)}
        for name in sorted(self._entries):
            self.add_command(TyperCommand(name, help=_summary(self._entries[name])))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, _load(self._entries[name]) if name else None, rest


_app = typer.Typer(cls=_Commands, help=_HELP, epilog=_EXAMPLES, no_args_is_help=True, rich_markup_mode='markdown')


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f'mtopt {version("mtopt_core")}')
        raise typer.Exit


@_app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option('--version', callback=_show_version, is_eager=True, help='Show the version.')
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; an error of mtopt's ends it with one line and exit status 1."""
    try:
        environment.prepare()
        typer.main.get_command(_app)(prog_name='mtopt')
    except MtoptError as error:
        print(f'mtopt: {" ".join(str(error).split())}', file=sys.stderr)
        sys.exit(1)


if __name__ == '__main__':
    main()
