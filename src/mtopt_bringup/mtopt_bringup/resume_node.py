"""`mtopt resume`: a robot that called for a person, or was paused, goes on; from a command line."""

from __future__ import annotations

from typing import Annotated

import typer

from mtopt_bringup.cells import robot_name
from mtopt_bringup.plain_node import AnswerError, ask, plain_node
from mtopt_core.errors import MtoptError


class ResumeError(MtoptError):
    """A robot could not be told to go on."""


def resume(robot: Annotated[str, typer.Argument(help='Name of the robot.')]) -> None:
    """Let a robot go on collecting that called for a person or was paused; THE ARM MOVES. Make the cell safe first.

    The key P of the page of `mtopt web` does the same. An emergency stop is released by `mtopt stop ROBOT --release`.

    Example: `mtopt resume robot1`
    """
    robot = robot_name(robot)
    with plain_node('resume') as node:
        try:
            print(f'{robot}: {ask(node, f"/{robot}/collector/resume")}')
        except AnswerError as error:
            raise ResumeError(f'{robot} was not told to go on: {error}') from None
