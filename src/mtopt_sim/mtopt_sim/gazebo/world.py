"""The world of Gazebo 11, generated from the description table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from mtopt_core.description.parts import CellTable
from mtopt_sim.gazebo.models import PLATE, SURROUNDINGS, cell_models, parked
from mtopt_sim.gazebo.sdf import VERSION, add, add_pose, text

WORLD = 'two_bins'
LAMP = 'lamp'
TIME_STEP_NS = 2_000_000
IMAGE_SIZE = 128
"""px, of the world that is shipped."""
FASTEST = 10
"""Times real time; without a limit a paused server spins on a whole core."""

AMBIENT, LAMP_BRIGHTNESS, LAMP_DIRECTION = 0.52, 0.5, (0.1, 0.1, -1.0)
SKY = (0.80, 0.83, 0.86)
# 1/s; DART knows no rolling resistance and a cylinder on its side rolls off by itself: still air slows it down.
DRAG = 24.0


def world_file(table: CellTable) -> str:
    """Return the name of the world's file: of the cell with a cloth another one, so that both have room in a folder."""
    return f'{WORLD}.world' if table.cloth is None else f'{WORLD}_with_{table.cloth.name}.world'


def world_files(table: CellTable, image_size: int, period: float) -> dict[str, str]:
    """Return the text of the world and of its models, by the path they have beneath `worlds/`.

    Args:
        table: The cell.
        image_size: Side of the square images, px.
        period: Between two images of a camera, s.
    """
    files = {world_file(table): text(_world(table))}
    for name, model in cell_models(table, image_size, period).items():
        files[f'models/{name}/model.config'] = text(model_config(name))
        files[f'models/{name}/model.sdf'] = text(model)
    return files


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts into a folder, by the path they have in it.

    Raises:
        OSError: They cannot be written.
    """
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def add_dart(world: Element) -> Element:
    """Add the physics: DART, with what grasps need of it."""
    physics = add(world, 'physics', type='dart', name='cell')
    add(physics, 'max_step_size', TIME_STEP_NS / 1e9)
    dart = add(physics, 'dart')
    add(add(dart, 'solver'), 'solver_type', 'pgs')
    add(dart, 'collision_detector', 'bullet')
    add(world, 'gravity', [0.0, 0.0, -9.81])
    add(add(world, 'wind'), 'linear_velocity', [0.0, 0.0, 0.0])
    return physics


def add_scene(world: Element) -> None:
    """Add sky and lamp."""
    scene = add(world, 'scene')
    add(scene, 'ambient', [AMBIENT] * 3 + [1.0])
    add(scene, 'background', [*SKY, 1.0])
    add(scene, 'shadows', False)
    lamp = add(world, 'light', name=LAMP, type='directional')
    add(lamp, 'pose', [0.5, 0.0, 2.0, 0.0, 0.0, 0.0])
    add(lamp, 'cast_shadows', False)
    add(lamp, 'diffuse', [LAMP_BRIGHTNESS] * 3 + [1.0])
    add(lamp, 'specular', [0.0, 0.0, 0.0, 1.0])
    add(lamp, 'direction', LAMP_DIRECTION)


def include_models(world: Element, table: CellTable) -> None:
    """Add every model where it stands before the first scene."""
    home = table.bin(table.plate.bin)
    origin = np.zeros(3), np.eye(3)
    places = {
        table.arm.name: origin,
        SURROUNDINGS: origin,
        PLATE: (np.array([*home.centre, 0.0]), np.eye(3)),
        **{name: parked(table, name) for name in table.object_names},
        **{camera.name: origin for camera in table.cameras if camera.link == table.arm.base},
    }
    for name, (position, rotation) in places.items():
        include = add(world, 'include')
        add(include, 'uri', f'model://{name}')
        add(include, 'name', name)
        add_pose(include, position, rotation)


def model_config(name: str, version: str = VERSION) -> Element:
    """Return the document that says what a model's folder holds, and in which version of SDF."""
    root = Element('model')
    add(root, 'name', name)
    add(root, 'version', '1.0')
    add(root, 'sdf', 'model.sdf', version=version)
    add(root, 'description', f'{name} of the mtopt cell; written by `mtopt world` from the description table.')
    return root


def _world(table: CellTable) -> Element:
    root = Element('sdf', version=VERSION)
    world = add(root, 'world', name=WORLD)
    physics = add_dart(world)
    add(physics, 'real_time_update_rate', FASTEST * 1e9 / TIME_STEP_NS)
    add_scene(world)
    include_models(world, table)
    drag = add(world, 'plugin', name='drag', filename='libWindPlugin.so')
    add(drag, 'force_approximation_scaling_factor', DRAG)
    return root
