"""The cell's configuration: step, limits, cameras, recording, regions. Validated once, stored in every bag."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mtopt_core.errors import ConfigurationError
from mtopt_core.paths import shipped
from mtopt_core.regions import Regions, goes_round

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Point = tuple[Finite, Finite, Finite]

MAIN, WRIST, SIDE_LEFT, SIDE_RIGHT = 'main', 'wrist', 'side_left', 'side_right'
CAMERAS = (MAIN, WRIST, SIDE_LEFT, SIDE_RIGHT)
DETECTOR_CAMERAS = (MAIN, SIDE_LEFT, SIDE_RIGHT)


class _Model(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True)


class StepConfiguration(_Model):
    """Length and size of one step (design: ROS interfaces).

    Attributes:
        duration: Length of the step's trajectory, s, 0.05 to 5: so long an arm may go on when a node dies.
        max_displacement: Largest displacement per axis, m.
        max_yaw_change: Largest turn about the vertical, rad.
        max_steps: Steps after which an episode ends.
        stuck_steps: Steps in a row without any motion after which it ends too.
        reflex: Height the tip rises after a step without any motion, m: it presses on something.
    """

    duration: Annotated[float, Field(ge=0.05, le=5.0)] = 0.5
    max_displacement: Positive = 0.10
    max_yaw_change: Positive = 0.5
    max_steps: Annotated[int, Field(gt=0)] = 20
    stuck_steps: Annotated[int, Field(gt=0)] = 2
    reflex: Positive = 0.06


class LimitConfiguration(_Model):
    """Limits on every command to the arm.

    Attributes:
        workspace_min: Lowest corner of the gripper tip's box, m, base frame.
        workspace_max: Highest corner, m, base frame.
        joint_speed: Share of the robot's joint speed limits that may be used, in (0, 1].
        move_speed: Speed of moves between episodes, m/s.
    """

    workspace_min: Point = (0.30, -0.42, 0.005)
    workspace_max: Point = (0.72, 0.42, 0.45)
    joint_speed: Annotated[float, Field(gt=0, le=1)] = 0.8
    move_speed: Positive = 0.5

    @model_validator(mode='after')
    def _room_between_the_corners(self) -> LimitConfiguration:
        """Let the workspace have some extent along every axis."""
        corners = zip('xyz', self.workspace_min, self.workspace_max, strict=True)
        for axis, low, high in corners:
            if low >= high:
                raise ValueError(f'workspace_min has {axis} {low:g} and workspace_max {high:g}: the first must be less')
        return self


class CameraConfiguration(_Model):
    """One camera's driver topic, relative to the robot's namespace.

    Attributes:
        topic: Topic of `sensor_msgs/Image` or `sensor_msgs/CompressedImage`.
        compressed: Whether the driver publishes `CompressedImage`.
    """

    topic: str
    compressed: bool = False


class RecordingConfiguration(_Model):
    """How episodes are recorded.

    Attributes:
        image_size: Side of the square recorded images, px; 0 keeps the camera's own size.
        jpeg_quality: Quality of the recorded JPEG, 1 to 100.
        chunk_size: Bytes of an MCAP chunk. What is in an unfinished one is lost when the recorder is killed, beside
            what waits in its queue. A power failure may cost more: nothing is synced before the end of an episode
            (docs/operation.md).
    """

    image_size: Annotated[int, Field(ge=0)] = 128
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    chunk_size: Annotated[int, Field(ge=4096)] = 65536


def _default_cameras() -> dict[str, CameraConfiguration]:
    return {name: CameraConfiguration(topic=f'camera/{name}/image') for name in CAMERAS}


class CellConfiguration(_Model):
    """Everything of one cell that bags, nodes and learner must agree on.

    Attributes:
        step: One step of the arm.
        limits: What every command to the arm obeys.
        cameras: By name.
        recording: How episodes are recorded.
        regions: What the success detector looks at rectified, by skill and camera; a skill without one is judged by
            whole pictures.
    """

    step: StepConfiguration = StepConfiguration()
    limits: LimitConfiguration = LimitConfiguration()
    cameras: dict[str, CameraConfiguration] = Field(default_factory=_default_cameras)
    recording: RecordingConfiguration = RecordingConfiguration()
    regions: Regions = Field(default_factory=dict)

    @model_validator(mode='after')
    def _regions_of_cameras(self) -> CellConfiguration:
        """Let no region be of a camera there is not, or have corners that do not go round it."""
        for skill, by_camera in self.regions.items():
            unknown = by_camera.keys() - self.cameras.keys()
            if unknown:
                raise ValueError(f'region {skill} has no camera {", ".join(sorted(unknown))} to be seen by')
            crooked = [camera for camera, corners in by_camera.items() if not goes_round(corners)]
            if crooked:
                raise ValueError(f'the corners of region {skill} do not go round it in {", ".join(crooked)}')
        return self


def load_cell(path: Path | None = None) -> CellConfiguration:
    """Read a cell's configuration, by default the shipped `config/cell.yaml`.

    Raises:
        ConfigurationError: The file cannot be read or breaks a rule; the message names file and field.
    """
    path = path or shipped('config', 'cell.yaml')
    try:
        return CellConfiguration.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(f'cell file {path}: {error}') from None
