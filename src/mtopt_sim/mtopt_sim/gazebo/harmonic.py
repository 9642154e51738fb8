"""The cell for Gazebo Harmonic with ros_gz, from the same table: a world, and what its bridge carries. Not yet run.

Models are those of Gazebo 11 but for the arm: Harmonic's joints can start at any position, so it stands where all of
them read zero, and their states need no translation on the way to ROS. Its controllers take the very trajectories that
the graph sends; at real time, as a real arm does.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from mtopt_core.description.parts import Arm, CellTable, Joint, Motion
from mtopt_sim.gazebo.models import (
    FINGER_D_GAIN,
    FINGER_STIFFNESS,
    LINK,
    STIFFNESS,
    arm_model,
    joint_zeros,
)
from mtopt_sim.gazebo.sdf import add, text
from mtopt_sim.gazebo.world import DRAG, WORLD, add_dart, add_scene, include_models, model_config

FOLDER = 'harmonic'
VERSION, MIMIC_VERSION = '1.9', '1.11'
ROBOT = 'robot1'
PERIOD = 0.1
"""s between two images: at real time they are streamed."""

# Systems of the world; one that lists any must list all it needs.
SYSTEMS = {
    'physics': 'Physics',
    'user-commands': 'UserCommands',
    'scene-broadcaster': 'SceneBroadcaster',
    'sensors': 'Sensors',
    'wind-effects': 'WindEffects',
}
TO_ROS, TO_GAZEBO = 'GZ_TO_ROS', 'ROS_TO_GZ'


def harmonic_files(table: CellTable, image_size: int) -> dict[str, str]:
    """Return the texts of world, arm and bridge configuration, by the path they have beneath `worlds/`.

    Args:
        table: The cell.
        image_size: Side of the square images, px.
    """
    arm = f'{FOLDER}/models/{table.arm.name}'
    return {
        f'{FOLDER}/{WORLD}.sdf': text(_world(table)),
        f'{FOLDER}/bridge.yaml': _bridge(table),
        f'{arm}/model.config': text(model_config(table.arm.name, MIMIC_VERSION)),
        f'{arm}/model.sdf': text(_arm(table, image_size)),
    }


def _world(table: CellTable) -> Element:
    root = Element('sdf', version=VERSION)
    world = add(root, 'world', name=WORLD)
    physics = add_dart(world)
    add(physics, 'real_time_factor', 1.0)
    for system, name in SYSTEMS.items():
        plugin = _add_system(world, system, name)
        if name == 'Sensors':
            add(plugin, 'render_engine', 'ogre2')
        elif name == 'WindEffects':
            add(plugin, 'force_approximation_scaling_factor', DRAG)
    add_scene(world)
    include_models(world, table)
    return root


def _arm(table: CellTable, image_size: int) -> Element:
    """Return the arm with its joints at zero, and the systems that move it and tell where it is."""
    arm = table.arm
    root = arm_model(table, dict.fromkeys(joint_zeros(arm), 0.0), image_size, PERIOD)
    root.set('version', MIMIC_VERSION)
    (model,) = root
    for joint in arm.joints:
        if joint.mimics:
            (axis,) = model.findall(f"joint[@name='{joint.name}']/axis")
            mimic = add(axis, 'mimic', joint=joint.mimics)
            add(mimic, 'multiplier', 1.0)
            add(mimic, 'offset', 0.0)
            add(mimic, 'reference', 0.0)
    revolute = [joint for joint in arm.joints if joint.motion is Motion.REVOLUTE]
    finger = next(joint for joint in arm.joints if joint.name == arm.finger_joint)
    _add_controller(model, _trajectory_topic(arm, 'arm'), revolute, arm.home, STIFFNESS.tolist(), [0.0] * len(revolute))
    _add_controller(
        model, _trajectory_topic(arm, 'gripper'), [finger], [arm.finger_open], [FINGER_STIFFNESS], [FINGER_D_GAIN]
    )
    states = _add_system(model, 'joint-state-publisher', 'JointStatePublisher')
    for joint in (*revolute, finger):
        add(states, 'joint_name', joint.name)
    return root


def _add_controller(
    model: Element,
    topic: str,
    joints: Sequence[Joint],
    start: Sequence[float],
    stiffness: Sequence[float],
    derivative: Sequence[float],
) -> None:
    """Add what carries out joint trajectories; each joint is given by its name, its start and its gains in turn."""
    controller = _add_system(model, 'joint-trajectory-controller', 'JointTrajectoryController')
    add(controller, 'topic', topic)
    for joint, position, gain, damping in zip(joints, start, stiffness, derivative, strict=True):
        add(controller, 'joint_name', joint.name)
        add(controller, 'initial_position', position)
        add(controller, 'position_p_gain', gain)
        add(controller, 'position_d_gain', damping)


def _add_system(parent: Element, system: str, name: str) -> Element:
    return add(parent, 'plugin', filename=f'gz-sim-{system}-system', name=f'gz::sim::systems::{name}')


def _trajectory_topic(arm: Arm, part: str) -> str:
    return f'/model/{arm.name}/{part}_trajectory'


def _bridge(table: CellTable) -> str:
    """Return the configuration of ros_gz_bridge: the topics of a real cell and those of Gazebo's that they are."""
    arm, world = table.arm, f'/world/{WORLD}'
    trajectory = 'trajectory_msgs/msg/JointTrajectory', 'gz.msgs.JointTrajectory', TO_GAZEBO
    lines = [
        *_entry('/clock', '/clock', 'rosgraph_msgs/msg/Clock', 'gz.msgs.Clock', TO_ROS),
        *_entry(
            f'/{ROBOT}/joint_states',
            f'{world}/model/{arm.name}/joint_state',
            'sensor_msgs/msg/JointState',
            'gz.msgs.Model',
            TO_ROS,
        ),
    ]
    for part, controller in (('arm', 'joint_trajectory_controller'), ('gripper', 'gripper_trajectory_controller')):
        lines += _entry(f'/{ROBOT}/{controller}/joint_trajectory', _trajectory_topic(arm, part), *trajectory)
    for camera in table.cameras:
        mount = f'{arm.name}/link/{camera.link}' if camera.link != arm.base else f'{camera.name}/link/{LINK}'
        lines += _entry(
            f'/{ROBOT}/camera/{camera.name}/image',
            f'{world}/model/{mount}/sensor/{camera.name}/image',
            'sensor_msgs/msg/Image',
            'gz.msgs.Image',
            TO_ROS,
        )
    return '\n'.join(['# Written by `mtopt world` from the description table.', *lines, ''])


def _entry(ros: str, gazebo: str, ros_type: str, gazebo_type: str, direction: str) -> list[str]:
    return [
        f'- ros_topic_name: {ros}',
        f'  gz_topic_name: {gazebo}',
        f'  ros_type_name: {ros_type}',
        f'  gz_type_name: {gazebo_type}',
        f'  direction: {direction}',
    ]
