"""Episodes to measure the success detector with: final images of three cameras, and the truth of more tasks than known.

The bags know the tasks of `config/tasks.yaml`. What is true of tasks that come later lies beside them, for whoever
plays the person that labels, and for measuring:

    <folder>/bags          as robots record them, without the images on the way
    <folder>/truth.jsonl   one line per episode: `{"episode_id": ..., "lift-any": true, ...}`
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtopt_bringup.object_aim import ObjectAim
from mtopt_bringup.simulation_episode import SimulatedEpisode, SimulatedRobot
from mtopt_core.configuration import DETECTOR_CAMERAS, load_cell
from mtopt_core.description.cell_table import CELL
from mtopt_core.episode import Outcome, Verdict
from mtopt_core.episode_bag import episode_ids, write_episode
from mtopt_core.label_store import SIMULATOR, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import Report, silent
from mtopt_core.tasks import Task, TaskSet, load_tasks
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.scripted import ScriptedPolicy
from mtopt_sim.cell import Cell
from mtopt_sim.mujoco_plant import MujocoPlant
from mtopt_sim.scene import Scene

IMAGE_SIZE = 128
"""Side of the recorded images where nothing is said of it, px: what a cell records."""

KNOWN = load_tasks()
LATER = (Task(name='lift-cup', skill='lift', object='cup'), Task(name='place-milk', skill='place', object='milk'))
"""Tasks nobody thought of when the bags were made."""
ALL = TaskSet(skills=KNOWN.skills, tasks=(*KNOWN.tasks, *LATER))

AIMS = (0.004, 0.02)
"""Errors of the scripts' aim, m, in turn: many successes, and many near misses."""

PLACE_SHARE = 0.55
"""Share of places among the episodes: they fail less often than lifts do, and failures are what takes numbers."""

TINT, SURFACE_TINT, DIMMER = 0.10, (0.08, 0.02, -0.06), 0.55
CAMERA_SHIFT, CAMERA_TURN = 0.015, 0.03
STORE_EVERY = 200


class ShiftedPlant(MujocoPlant):
    """The cell on another day: dim warm light, other shades, cameras knocked by up to 15 mm and 30 mrad."""

    def dress(self, scene: Scene) -> None:
        """Give everything a scene's looks, shifted."""
        rng = np.random.default_rng(round(scene.look.lamp_brightness * 1e9))
        look, cameras = scene.look, scene.look.camera_shifts.shape
        shifted = replace(
            look,
            object_tints=look.object_tints + rng.uniform(-TINT, TINT, look.object_tints.shape),
            surface_tint=look.surface_tint + np.array(SURFACE_TINT),
            plate_tint=look.plate_tint + np.array(SURFACE_TINT),
            lamp_brightness=look.lamp_brightness * DIMMER,
            camera_shifts=look.camera_shifts + rng.uniform(-CAMERA_SHIFT, CAMERA_SHIFT, cameras),
            camera_turns=look.camera_turns + rng.uniform(-CAMERA_TURN, CAMERA_TURN, cameras),
        )
        super().dress(replace(scene, look=shifted))


def fill(
    root: Path,
    name: str,
    episodes: int,
    seed: int,
    *,
    shifted: bool = False,
    attempted: Sequence[str] = KNOWN.names,
    place_share: float = PLACE_SHARE,
    image_size: int = IMAGE_SIZE,
    report: Report = silent,
) -> None:
    """Simulate episodes into a data folder; those there are already stay, so that it can be gone on with.

    Args:
        root: The data folder.
        name: What the ids begin with.
        episodes: How many it shall hold.
        seed: Of all of them; episode i is the same whatever the others are.
        shifted: Whether it is the cell on another day.
        attempted: Tasks that are attempted, each as often as the others of its skill.
        place_share: Share of places among the episodes.
        image_size: Side of the recorded images, px.
        report: Told how many are done.
    """
    data = DataFolder(root)
    done = {int(episode_id.rpartition('_')[2]) for episode_id in episode_ids(data.bags)}
    wanted = [number for number in range(episodes) if number not in done]
    if not wanted:
        return
    data.bags.mkdir(parents=True, exist_ok=True)
    cell = Cell(image_size, DETECTOR_CAMERAS, plant=ShiftedPlant(CELL, image_size) if shifted else None)
    run = _simulated(cell, name, wanted, seed, attempted, place_share)
    for count, (episode_id, simulated) in enumerate(run):
        report(count + len(done), episodes)
        known = [outcome for outcome in simulated.outcomes if outcome.task in KNOWN.names]
        with (root / 'truth.jsonl').open('a') as file:
            file.write(json.dumps({'episode_id': episode_id, **simulated.truth}) + '\n')
        write_episode(data.bags, simulated.episode, load_cell(), known)
    cell.close()
    store = LabelStore(data)
    truths = read_truth(root)
    for names in np.array_split(np.array(sorted(truths)), max(1, len(truths) // STORE_EVERY)):
        gradings = {str(n): outcomes_of({task: truths[n][task] for task in KNOWN.names}) for n in names}
        store.add_many(SIMULATOR, '', gradings)
    store.close()


def outcomes_of(truth: Mapping[str, bool]) -> list[Outcome]:
    """Return the truth of an episode as outcomes."""
    return [Outcome(task, Verdict(int(solved)), float(solved)) for task, solved in truth.items()]


def read_truth(root: Path) -> dict[str, dict[str, bool]]:
    """Return what is true of a folder's episodes, by id and task."""
    lines = [json.loads(line) for line in (root / 'truth.jsonl').read_text().splitlines()]
    return {line.pop('episode_id'): line for line in lines}


def _simulated(
    cell: Cell, name: str, numbers: list[int], seed: int, attempted: Sequence[str], place_share: float
) -> Iterator[tuple[str, SimulatedEpisode]]:
    configuration = load_cell()
    robot = SimulatedRobot(cell, configuration, ALL, (), DETECTOR_CAMERAS)
    space = ActionSpace.eased(configuration.step)
    scripts = [ScriptedPolicy(KNOWN, space, aim=ObjectAim(cell, KNOWN, error)) for error in AIMS]
    skills = {skill: [task for task in KNOWN.of_skill(skill) if task in attempted] for skill in ('lift', 'place')}
    for number in numbers:
        rng = np.random.default_rng((seed, number))
        skill = 'place' if rng.random() < place_share else 'lift'
        task = str(rng.choice(skills[skill]))
        episode_id = f'{name}_{number:06d}'
        scene_seed = int(rng.integers(2**31))
        yield episode_id, robot.run(scripts[number % len(scripts)], episode_id, task, scene_seed, object_present=True)


def describe(root: Path) -> str:
    """Return how many episodes solve each task."""
    truths = list(read_truth(root).values())
    return ', '.join(f'{task} {sum(truth[task] for truth in truths)}' for task in ALL.names)
