"""Gives the model a scene's looks, in place: nothing is compiled and the renderer stays."""

from __future__ import annotations

import mujoco
import numpy as np

from mtopt_core.description.parts import CellTable
from mtopt_sim.model import CellModel
from mtopt_sim.scene import Scene


class Appearance:
    """The model's colours, light, cameras and plate as compiled, and what a scene makes of them.

    Args:
        cell_model: The model that is changed.
        table: The cell.
    """

    def __init__(self, cell_model: CellModel, table: CellTable) -> None:
        model = cell_model.model
        self._model = model
        self._table = table
        self._plate = cell_model.plate_body
        self._objects = cell_model.object_bodies
        strips = table.cloth.strips if table.cloth else 0
        first = model.body(table.cloth.name).id if table.cloth else 0
        self._cloth = np.isin(model.geom_bodyid, np.arange(first, first + strips))
        self._colours = model.geom_rgba.copy()
        self._camera_positions, self._camera_turns = model.cam_pos.copy(), model.cam_quat.copy()
        self._surfaces = np.flatnonzero(model.geom_bodyid == 0)
        self._cameras = [model.camera(camera.name).id for camera in table.cameras]

    def apply(self, scene: Scene) -> None:
        """Dress the model for a scene; objects that are not in it become invisible."""
        model, look = self._model, scene.look
        colours = self._colours.copy()
        colours[self._surfaces, :3] += look.surface_tint
        plate = model.geom_bodyid == self._plate
        palette = np.array(self._table.plate.colours)
        colours[plate, :3] *= (palette[look.plate_colour] + look.plate_tint) / palette[0]
        for category, body, tint in zip(self._table.categories, self._objects, look.object_tints, strict=True):
            geoms = model.geom_bodyid == body
            colours[geoms, :3] += tint
            colours[geoms, 3] = category.name in scene.objects
        colours[self._cloth, 3] = scene.cloth is not None
        model.geom_rgba[:] = np.clip(colours, 0.0, 1.0)

        model.body_pos[self._plate, :2] = scene.plate_position
        model.body_quat[self._plate] = np.cos(scene.plate_yaw / 2), 0, 0, np.sin(scene.plate_yaw / 2)
        model.light_dir[0] = look.lamp_direction
        model.light_diffuse[0] = look.lamp_brightness
        for index, shift, turn in zip(self._cameras, look.camera_shifts, look.camera_turns, strict=True):
            model.cam_pos[index] = self._camera_positions[index] + shift
            rotation = self._camera_turns[index].copy()
            mujoco.mju_quatIntegrate(rotation, turn, 1.0)
            model.cam_quat[index] = rotation
