from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from pydantic import ValidationError

from mtopt_core.configuration import CAMERAS
from mtopt_core.description.cell_table import CELL, LEFT_BIN, RIGHT_BIN, start_pose
from mtopt_core.description.cloth_table import table_for
from mtopt_core.description.parts import Form
from mtopt_core.description.urdf import urdf_text
from mtopt_core.errors import ConfigurationError
from mtopt_core.tasks import Skill, TaskSet, load_tasks


def test_the_table_has_what_tasks_and_configuration_name():
    tasks = load_tasks()
    assert {task.object for task in tasks.tasks if task.object} <= {category.name for category in CELL.categories}
    assert {task.section for task in tasks.tasks if task.section} == {section.name for section in CELL.plate.sections}
    assert {skill.start_region for skill in tasks.skills.values()} == {one.name for one in CELL.bins}
    assert {camera.name for camera in CELL.cameras} == set(CAMERAS)


def test_a_mirror_makes_one_task_of_another_where_the_file_says_so():
    tasks = load_tasks()
    becomes = {
        task: tasks.names[other] for task, other in zip(tasks.names, tasks.mirrored, strict=True) if other is not None
    }
    assert becomes == {
        'place-any': 'place-any',
        'place-bottom': 'place-bottom',
        'place-top-left': 'place-top-right',
        'place-top-right': 'place-top-left',
    }
    left_alone = TaskSet(skills=tasks.skills, tasks=tasks.tasks[:-1])
    assert left_alone.mirrored[left_alone.index('place-top-left')] is None
    with pytest.raises(ValidationError, match='both ways'):
        Skill(start_region='left_bin', mirrored_sections={'top-left': 'top-right'})


def test_the_tasks_with_the_cloth_extend_the_others_and_name_what_their_cell_has():
    tasks, more = load_tasks(), load_tasks('tasks_with_cloth.yaml')
    assert more.tasks[: len(tasks)] == tasks.tasks
    assert {name: more.skills[name] for name in tasks.skills} == tasks.skills
    assert {task.object for task in more.tasks if task.object} <= set(table_for(more).object_names)


def test_a_task_file_is_found_by_its_path_or_by_its_name_in_config(tmp_path, monkeypatch):
    own = TaskSet.model_validate(
        {'skills': {'lift': {'start_region': 'right_bin'}}, 'tasks': [{'name': 'lift-any', 'skill': 'lift'}]}
    )
    for name in ('mine.yaml', 'tasks.yaml'):
        (tmp_path / name).write_text(own.model_dump_json())
    monkeypatch.chdir(tmp_path)
    assert load_tasks(tmp_path / 'tasks.yaml') == load_tasks('mine.yaml') == own
    assert load_tasks('./tasks.yaml') == own
    assert len(load_tasks('')) == len(load_tasks()) == 12
    with pytest.raises(ConfigurationError, match=r'write \./tasks\.yaml for the one here, or .*config/tasks\.yaml'):
        load_tasks('tasks.yaml')
    (tmp_path / 'tasks.yaml').unlink()
    assert len(load_tasks('tasks.yaml')) == 12
    with pytest.raises(ConfigurationError, match=r'nothing\.yaml'):
        load_tasks('nothing.yaml')


def test_some_categories_are_rare():
    odds = [category.probability for category in CELL.categories]
    assert min(odds) <= 0.5 * max(odds)


def test_the_plate_has_one_half_and_two_quarters_that_leave_no_gap():
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    sections = [CELL.plate.section_at(0.08 * np.cos(angle), 0.08 * np.sin(angle)) for angle in angles]
    assert {name: sections.count(name) for name in set(sections)} == {'bottom': 360, 'top-left': 180, 'top-right': 180}
    assert CELL.plate.section_at(-0.02, -0.02) == 'bottom'
    assert CELL.plate.section_at(-0.02, 0.02) == 'top-left'
    assert CELL.plate.section_at(CELL.plate.radius, 0.0) is None


@pytest.mark.parametrize('region', [LEFT_BIN, RIGHT_BIN])
def test_start_poses_fill_the_air_above_their_bin(region):
    rng = np.random.default_rng(0)
    home = CELL.bin(region)
    poses = [start_pose(region, rng) for _ in range(200)]
    positions, yaws = np.array([position for position, _ in poses]), np.array([yaw for _, yaw in poses])
    assert all(home.contains(*position[:2]) for position in positions)
    assert np.ptp(positions[:, 0]) > 0.15
    assert positions[:, 2].min() > home.wall_height
    assert np.ptp(yaws) > 2.5


def test_the_urdf_says_what_the_table_says_and_weighs_what_is_possible():
    robot = ElementTree.fromstring(urdf_text())
    assert [link.get('name') for link in robot.findall('link')] == [link.name for link in CELL.arm.links]
    for element, joint in zip(robot.findall('joint'), CELL.arm.joints, strict=True):
        assert element.get('type') == joint.motion.value
        assert element.find('child').get('link') == joint.child
    for inertia in robot.iter('inertia'):
        xx, yy, zz = sorted(float(inertia.get(name)) for name in ('ixx', 'iyy', 'izz'))
        assert xx > 0
        assert xx + yy >= zz
    assert robot.find('.//mimic').get('joint') == CELL.arm.finger_joint


def test_every_shape_is_one_that_all_simulators_know_and_objects_fit_the_gripper():
    sizes = {Form.BOX: 3, Form.CYLINDER: 2, Form.SPHERE: 1}
    for category in CELL.categories:
        for shape in category.shapes:
            assert len(shape.size) == sizes[shape.form]
        widths = [min(shape.size[:2]) if shape.form is Form.BOX else 2 * shape.size[0] for shape in category.shapes]
        assert max(widths) < 2 * CELL.arm.finger_open
