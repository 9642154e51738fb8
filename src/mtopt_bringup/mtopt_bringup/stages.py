"""A long job as stages, each a command of mtopt: printed before it runs, ended by a signal, gone on with later."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import typer
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from mtopt_bringup.interruption import Interruption
from mtopt_core.child_processes import die_with_parent
from mtopt_core.errors import ConfigurationError, MtoptError
from mtopt_core.whole_file import write_whole

WITHOUT_INFLUENCE = ('--workers', '--threads', '--out', '--bags', '--json', '--checkpoint')
"""Options that only say how fast something is done, or where: a job's folder may have been moved."""


class StageError(MtoptError):
    """A stage failed."""


class StageRecord(BaseModel):
    """A stage that was carried out.

    Attributes:
        name: For programs.
        title: What was done, for people.
        command: How; empty when nothing was left to do.
        seconds: How long it took.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    name: str
    title: str
    command: str
    seconds: float


class State(BaseModel):
    """How far a job is; a file beside its data.

    Attributes:
        round: A job that is complete can be done again on top of it; this is the round that runs.
        stages: Carried out in this round.
    """

    model_config = ConfigDict(extra='forbid')
    round: int = 1
    stages: list[StageRecord] = []

    @classmethod
    def load(cls, path: Path) -> State:
        """Read the state, a new one where there is none.

        Raises:
            ConfigurationError: The file is damaged.
        """
        try:
            return cls.model_validate_json(path.read_text()) if path.exists() else cls()
        except ValidationError as error:
            raise ConfigurationError(f'{path} is damaged ({error.error_count()} errors); remove it') from None

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        write_whole(path, self.model_dump_json(indent=1))


@dataclass(frozen=True)
class Stage:
    """One command of a job.

    Attributes:
        name: For the state; no two of a job have the same.
        title: What it does, for people.
        arguments: Of `mtopt`, looked up when the stage starts; none when there is nothing left to do.
        fixed: They are the same whenever they are looked up: what was carried out with others is not this stage.
    """

    name: str
    title: str
    arguments: Callable[[], list[str] | None]
    fixed: bool = False


def carry_out(stages: Sequence[Stage], state: State, path: Path, again: str, console: Console) -> None:
    """Run the stages that are not done yet, saving the state after each.

    Args:
        stages: Of this round.
        state: How far the job is.
        path: Where the state is saved.
        again: The command that goes on after Ctrl-C.
        console: Where titles and commands are shown.

    Raises:
        ConfigurationError: A stage was carried out with other options.
        StageError: A stage's command failed.
        typer.Exit: Ctrl-C.
    """
    require_same(stages, state, path)
    state.save(path)
    done = {record.name for record in state.stages}
    if state.round > 1 or done:
        console.print(f'going on in {path.parent}: round {state.round}, {len(done)} of {len(stages)} stages done')
    for number, stage in enumerate(stages, 1):
        if stage.name in done:
            continue
        console.rule(f'[bold]{number}/{len(stages)}[/] {stage.title}', align='left')
        with Interruption() as interruption:
            record = _carry_out(stage, console, interruption)
        if record is None:
            console.print(f'\nstopped; everything is kept in {path.parent}, `{again}` goes on from here')
            raise typer.Exit(130)
        state.stages.append(record)
        state.save(path)


def require_same(stages: Sequence[Stage], state: State, path: Path) -> None:
    """See that what was carried out is what would be now, as far as that can be known beforehand.

    Raises:
        ConfigurationError: A stage had other options; the message names them, and the way out.
    """
    commands = {record.name: record.command for record in state.stages if record.command}
    for stage in stages:
        arguments = stage.arguments() if stage.fixed and stage.name in commands else None
        differing = [] if arguments is None else _differing(shlex.split(commands[stage.name]), arguments)
        if differing:
            raise ConfigurationError(
                f'{path}: stage {stage.name!r} was carried out with other options: {"; ".join(differing)}. Give those '
                'again, or take another folder; to have everything in this one done anew remove the folder'
            )


def _differing(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """Return the options that two commands have in common, with different values, in words."""
    then, new = _options(before), _options(now)
    common = [name for name in then if name in new and name not in WITHOUT_INFLUENCE]
    return [
        f'{name} {" ".join(then[name])}, now {" ".join(new[name])}'
        for name in common
        if len(then[name]) != len(new[name]) or not all(map(_alike, then[name], new[name]))
    ]


def _options(command: Sequence[str]) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    for name, value in pairwise(command):
        if name.startswith('--') and not value.startswith('--'):
            options.setdefault(name, []).append(value)
    return options


def _alike(before: str, now: str) -> bool:
    """Return whether two values are the same, or the same path, told from two working folders."""
    there, here = Path(before).parts, Path(now).parts
    shared = min(len(there), len(here))
    return before == now or (shared > 1 and there[-shared:] == here[-shared:])


def _carry_out(stage: Stage, console: Console, interruption: Interruption) -> StageRecord | None:
    """Run a stage's command; return what was done, or none when it was interrupted."""
    arguments = stage.arguments()
    started = time.monotonic()
    command = '' if arguments is None else shlex.join(['mtopt', *arguments])
    if arguments is not None:
        console.print(f'[dim]$ {command}[/]', highlight=False, soft_wrap=True)
        # Ctrl-C reaches the command too, which ends its work in order.
        process = subprocess.Popen(
            [sys.executable, '-m', 'mtopt_core.cli', *arguments],
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
        )
        interruption.terminate = process.terminate
        status = process.wait()
        if interruption.requested:
            return None
        if status != 0:
            raise StageError(f'stage {stage.name!r} failed; its own message is above. Again: {command}')
    return StageRecord(name=stage.name, title=stage.title, command=command, seconds=time.monotonic() - started)
