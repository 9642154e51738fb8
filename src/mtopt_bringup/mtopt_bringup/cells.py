"""The robots of a fleet: one file each, `config/cells/<robot>.yaml`, with what differs from the others."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mtopt_core.errors import ConfigurationError

Options = TypeVar('Options', bound=BaseModel)
PolicyName = Literal['scripted', 'learned', 'mixture', 'curriculum']
"""Who decides in episodes nobody asked for."""

# A name of ROS, and nobody else's: the nodes that serve all robots have the namespace `machine`.
_ROBOT = re.compile(r'(?!machine$)[A-Za-z][A-Za-z0-9_]*')


def robot_name(text: str) -> str:
    """Return the name of a robot, given with or without the slash of its namespace.

    Raises:
        ConfigurationError: It is none.
    """
    name = text.strip('/')
    if not _ROBOT.fullmatch(name):
        raise ConfigurationError(f'{text!r} is no robot\'s name: letters, digits and "_", such as robot1')
    return name


class RobotConfiguration(BaseModel):
    """One robot; what is left out is as for the whole fleet. Paths are relative to the file's folder.

    Attributes:
        simulator: What stands in for the robot.
        cell_file: Its limits and cameras.
        image_size: Side of the simulated cameras' images, px.
        policy: Who decides.
        episodes: To collect; 0: on request, -1: without end.
        seed: Of its scheduler; -1 draws one.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)
    simulator: Literal['mujoco', 'gazebo', 'elsewhere', 'none'] | None = None
    cell_file: str | None = None
    image_size: Annotated[int, Field(ge=16)] | None = None
    policy: PolicyName | None = None
    episodes: Annotated[int, Field(ge=-1)] | None = None
    seed: Annotated[int, Field(ge=-1)] | None = None

    def applied(self, options: Options, number: int) -> Options:
        """Return the fleet's options with this robot's in their place.

        Args:
            options: The graph's options, `GraphOptions`.
            number: Which robot, counted from 1: each has a seed of its own.
        """
        fleet = options.model_dump()
        drawn = fleet['seed'] if fleet['seed'] < 0 else fleet['seed'] + number
        own: dict[str, Any] = {'seed': drawn, **self.model_dump(exclude_none=True)}
        return type(options).model_validate({**fleet, **own})


def load_cells(pattern: str) -> dict[str, RobotConfiguration]:
    """Read the robots' files.

    Args:
        pattern: Which files, `config/cells/*.yaml` for instance; several are separated by commas.

    Returns:
        The robots by name, which is the file's, in order of their names.

    Raises:
        ConfigurationError: There is no such file, one cannot be read or breaks a rule, or a name is no robot's.
    """
    paths = sorted({Path(name) for part in pattern.split(',') for name in glob.glob(part.strip())})  # noqa: PTH207
    if not paths:
        raise ConfigurationError(f'no file fits {pattern!r}; a robot has a file like config/cells/robot1.yaml')
    found: dict[str, RobotConfiguration] = {}
    for path in paths:
        if not _ROBOT.fullmatch(path.stem):
            raise ConfigurationError(
                f'cell file {path}: its name is the robot\'s and must be letters, digits and "_", not "machine"'
            )
        if path.stem in found:
            raise ConfigurationError(f'cell file {path}: there is another robot named {path.stem}; rename one')
        found[path.stem] = _load(path)
    return found


def _load(path: Path) -> RobotConfiguration:
    try:
        robot = RobotConfiguration.model_validate(yaml.safe_load(path.read_text()) or {})
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(f'cell file {path}: {error}') from None
    if robot.cell_file:
        robot = robot.model_copy(update={'cell_file': str((path.parent / robot.cell_file).absolute())})
    return robot
