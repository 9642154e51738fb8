"""The world of Gazebo says what the description table says. Nothing here needs Gazebo."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from mtopt_core.configuration import CAMERAS
from mtopt_core.description.cell_table import CELL
from mtopt_core.description.cloth_table import CELL_WITH_CLOTH, CLOTH
from mtopt_core.description.parts import Motion
from mtopt_core.description.urdf import urdf_text
from mtopt_core.kinematics import Kinematics, rotation_from_rpy
from mtopt_core.paths import shipped
from mtopt_sim.gazebo.harmonic import harmonic_files
from mtopt_sim.gazebo.models import joint_zeros, link_poses
from mtopt_sim.gazebo.sdf import gazebo_axes, rpy, table_axes
from mtopt_sim.gazebo.world import IMAGE_SIZE, world_files
from mtopt_sim.gazebo.world_command import shipped_files
from mtopt_sim.geometry import mass_properties
from mtopt_sim.model import build_model
from mtopt_sim.simulators import IMAGE_PERIOD


def test_the_committed_worlds_are_what_mtopt_world_writes():
    files = shipped_files(IMAGE_SIZE, IMAGE_PERIOD)
    folder = shipped('worlds')
    committed = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob('*') if path.is_file()}
    assert committed == files, 'run `mtopt world` and commit what it writes'


def model(name):
    root = ElementTree.fromstring(world_files(CELL_WITH_CLOTH, IMAGE_SIZE, IMAGE_PERIOD)[f'models/{name}/model.sdf'])
    return root.find('model')


def pose(element):
    values = np.array([float(word) for word in element.findtext('pose').split()])
    matrix = np.eye(4)
    matrix[:3, 3], matrix[:3, :3] = values[:3], rotation_from_rpy(*values[3:])
    return matrix


def test_every_link_stands_where_the_kinematics_put_it():
    kinematics = Kinematics.from_urdf(urdf_text(CELL.arm), CELL.arm.base, CELL.arm.tip)
    poses = link_poses(CELL.arm, joint_zeros(CELL.arm))
    position, rotation = kinematics.forward(np.array(CELL.arm.home))
    assert poses['tip'][:3, 3] == pytest.approx(position, abs=1e-9)
    assert poses['tip'][:3, :3] == pytest.approx(rotation, abs=1e-9)
    links = {link.get('name'): pose(link) for link in model('arm').findall('link')}
    assert set(links) == {link.name for link in CELL.arm.links if link.mass}
    for name, written in links.items():
        assert written == pytest.approx(poses[name], abs=1e-8)


def test_limits_are_the_tables_shifted_to_where_gazebo_reads_zero():
    zeros = joint_zeros(CELL.arm)
    for joint in model('arm').findall('joint'):
        name = joint.get('name')
        if joint.get('type') == 'fixed':
            continue
        meant = next(one for one in CELL.arm.joints if one.name == name)
        assert float(joint.findtext('axis/limit/lower')) + zeros[name] == pytest.approx(meant.lower)
        assert float(joint.findtext('axis/limit/upper')) + zeros[name] == pytest.approx(meant.upper)
        assert joint.get('type') == ('revolute' if meant.motion is Motion.REVOLUTE else 'prismatic')


def test_objects_weigh_and_turn_as_in_mujoco():
    parts = build_model(CELL)
    for category, body in zip(CELL.categories, parts.object_bodies, strict=True):
        centre, inertia = mass_properties(category)
        assert centre == pytest.approx(parts.model.body_ipos[body], abs=1e-9)
        principal = np.sort(np.linalg.eigvalsh(inertia))
        assert principal == pytest.approx(np.sort(parts.model.body_inertia[body]), rel=1e-6)
        assert float(model(category.name).findtext('link/inertial/mass')) == category.mass


def test_the_cloth_is_a_chain_of_strips_that_are_hinged_edge_to_edge():
    cloth = model('cloth')
    links = {link.get('name'): pose(link)[:3, 3] for link in cloth.findall('link')}
    assert len(links) == CLOTH.strips
    assert sum(float(mass.text) for mass in cloth.iter('mass')) == pytest.approx(CLOTH.mass)
    for joint in cloth.findall('joint'):
        hinge = links[joint.findtext('child')] + pose(joint)[:3, 3]
        assert hinge - links[joint.findtext('parent')] == pytest.approx([CLOTH.strip[0] / 2, 0, 0])
        assert float(joint.findtext('axis/dynamics/damping')) == CLOTH.damping


def harmonic(name):
    return harmonic_files(CELL, IMAGE_SIZE)[f'harmonic/{name}']


def test_harmonics_arm_stands_where_its_joints_read_zero():
    arm = ElementTree.fromstring(harmonic('models/arm/model.sdf')).find('model')
    poses = link_poses(CELL.arm, {})
    for link in arm.findall('link'):
        assert pose(link) == pytest.approx(poses[link.get('name')], abs=1e-8)
    starts = [float(start.text) for start in arm.iter('initial_position')]
    assert starts == pytest.approx([*CELL.arm.home, CELL.arm.finger_open])


def test_the_bridge_carries_every_topic_of_a_real_cell_between_topics_that_harmonics_world_has():
    entries = {entry['ros_topic_name']: entry for entry in yaml.safe_load(harmonic('bridge.yaml'))}
    topics = ['/clock', '/robot1/joint_states']
    topics += [f'/robot1/{part}_controller/joint_trajectory' for part in ('joint_trajectory', 'gripper_trajectory')]
    assert set(entries) == {*topics, *(f'/robot1/camera/{name}/image' for name in CAMERAS)}
    controllers = {topic.text for topic in ElementTree.fromstring(harmonic('models/arm/model.sdf')).iter('topic')}
    sent = {entry['gz_topic_name'] for entry in entries.values() if entry['direction'] == 'ROS_TO_GZ'}
    assert sent == controllers
    for camera in CELL.cameras:
        topic = entries[f'/robot1/camera/{camera.name}/image']['gz_topic_name']
        world, _, owner, _, link, _, sensor, _ = topic.removeprefix('/world/').split('/')
        assert (world, sensor) == ('two_bins', camera.name)
        text = (
            harmonic('models/arm/model.sdf')
            if owner == 'arm'
            else world_files(CELL, IMAGE_SIZE, IMAGE_PERIOD)[f'models/{owner}/model.sdf']
        )
        assert ElementTree.fromstring(text).find(f"model/link[@name='{link}']/sensor[@name='{sensor}']") is not None


def test_harmonics_world_includes_only_models_that_are_shipped():
    shipped_names = set(shipped_files(IMAGE_SIZE, IMAGE_PERIOD))
    for uri in ElementTree.fromstring(harmonic('two_bins.sdf')).iter('uri'):
        assert f'models/{uri.text.removeprefix("model://")}/model.sdf' in shipped_names


@pytest.mark.parametrize('pitch', [0.3, np.pi / 2, -np.pi / 2, np.pi / 2 - 1e-12])
def test_angles_survive_looking_straight_up_and_down(pitch):
    rotation = rotation_from_rpy(0.7, pitch, -1.1)
    assert rotation_from_rpy(*rpy(rotation)) == pytest.approx(rotation, abs=1e-9)


def test_cameras_look_where_the_table_says():
    for camera in CELL.cameras:
        turned = gazebo_axes(camera.axes)
        forward = np.subtract(camera.target, camera.position)
        assert turned[:, 0] == pytest.approx(forward / np.linalg.norm(forward))
        assert turned[:, 2] @ camera.up > 0
        assert table_axes(turned) == pytest.approx(camera.axes)
        assert np.linalg.det(turned) == pytest.approx(1.0)


def test_no_capsules_no_meshes_and_no_gravity_on_the_arm():
    for name, text in world_files(CELL, IMAGE_SIZE, IMAGE_PERIOD).items():
        forms = {child.tag for geometry in ElementTree.fromstring(text).iter('geometry') for child in geometry}
        assert forms <= {'box', 'cylinder', 'sphere'}, name
    assert all(link.findtext('gravity') == 'false' for link in model('arm').findall('link'))
