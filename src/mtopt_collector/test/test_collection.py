from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtopt_collector.cadence import append_cadence
from mtopt_collector.collection import (
    Collection,
    CollectionError,
    Fault,
    Identity,
    PolicyRun,
    Recorded,
    State,
)
from mtopt_collector.curriculum import Chooser, Curriculum, Sources
from mtopt_collector.practice import Practice
from mtopt_collector.scheduler import Assignment, Scheduler
from mtopt_core.cadence import cadence_file, damaged_lines, read_cadence
from mtopt_core.catalogue import Catalogue
from mtopt_core.configuration import CellConfiguration
from mtopt_core.episode import (
    Action,
    Episode,
    EpisodeInfo,
    Observation,
    Outcome,
    Step,
    Termination,
    Verdict,
)
from mtopt_core.episode_bag import read_episode, write_episode
from mtopt_core.images import encode_jpeg
from mtopt_core.label_store import LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks

JPEG = encode_jpeg(np.zeros((16, 16, 3), np.uint8), 90)
LIFTED = [Outcome('lift-any', Verdict.SUCCESS, 1.0), Outcome('lift-milk', Verdict.FAILURE, 0.0)]


def observation(stamp: int) -> Observation:
    return Observation(stamp, {'main': JPEG}, np.zeros(7), np.zeros(3), 0.0, False, 0.08, 0.1)


class ScriptedRobot:
    """A robot that does as it is told and writes real bags."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.truth: list[Outcome] = LIFTED
        self.verdicts: list[Outcome] = []
        self.graded: dict[str, Mapping[str, bytes]] = {}
        self.resets: list[Assignment] = []
        self.ended: list[EpisodeInfo] = []
        self.reset_fault: CollectionError | None = None
        self.policy_fault: CollectionError | None = None
        self.run = PolicyRun(
            1, Termination.SCRIPTED_ENDING, 'scripted', decision_time=0.01, step_times=(0.2, 0.7), final_stamp=2
        )
        self.missing = ''
        self.explored: list[tuple[str, float]] = []

    def reset(self, assignment: Assignment) -> int:
        self.resets.append(assignment)
        if self.reset_fault:
            raise self.reset_fault
        return 1

    def start_recording(self, info: EpisodeInfo) -> None:
        assert info.termination is Termination.NONE

    have_learned = False

    def run_policy(self, info: EpisodeInfo, exploration: float) -> PolicyRun:
        self.explored.append((info.policy, exploration))
        if self.policy_fault:
            raise self.policy_fault
        return self.run

    def finish_recording(self, info: EpisodeInfo) -> Recorded:
        self.ended.append(info)
        episode = Episode(info, (Step(observation(1), Action()),), observation(2))
        path = write_episode(self._folder, episode, CellConfiguration(), self.truth)
        return Recorded(path, messages=8, dropped=0, missing=self.missing)

    def grade(self, episode_id: str, images: Mapping[str, bytes]) -> list[Outcome]:
        self.graded[episode_id] = images
        return self.verdicts


class Bench:
    def __init__(self, tmp_path: Path, grade_with: str = 'simulator', curriculum: Curriculum | None = None) -> None:
        self.data = DataFolder(tmp_path)
        practice = Practice(self.data, load_tasks(), ('simulator',), Chooser(curriculum)) if curriculum else None
        self.robot = ScriptedRobot(self.data.bags)
        self.states: list[tuple] = []
        self.collection = Collection(
            self.robot,
            Scheduler(load_tasks(), seed=0),
            Identity('robot1', simulated=True, configuration='{}'),
            self.data,
            grade_with,
            max_failures=3,
            announce=lambda *state: self.states.append(state),
            practice=practice,
        )


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


def test_an_episode_is_reset_recorded_run_graded_and_catalogued(bench):
    collected = bench.collection.next('scripted')
    assert [state for state, *_ in bench.states] == [State.RESETTING, State.RUNNING, State.GRADING, State.IDLE]
    episode = read_episode(collected.recorded.path)
    assert episode.info == collected.info
    assert episode.info.termination is Termination.SCRIPTED_ENDING
    assert episode.info.scene_seed == bench.robot.resets[0].seed
    assert collected.successes == {'lift-any'}
    (row,) = Catalogue(bench.data).episodes()
    assert row.episode_id == collected.info.episode_id


def test_a_lift_is_followed_by_placing_the_object(bench):
    lift = bench.collection.next('scripted')
    place = bench.collection.next('scripted')
    assert place.info.skill == 'place'
    assert place.info.previous_episode_id == lift.info.episode_id
    assert place.info.scene_seed == lift.info.scene_seed
    assert bench.robot.resets[1].holding


def test_the_simulators_truth_is_stored_under_its_own_name_only(bench):
    episode_id = bench.collection.next('scripted').info.episode_id
    store = LabelStore(bench.data)
    assert store.outcomes(episode_id) == {}
    assert store.outcomes(episode_id, ['simulator'])['lift-any'].verdict is Verdict.SUCCESS


def test_the_detector_grades_the_recorded_final_images_and_decides_what_comes_next(tmp_path):
    bench = Bench(tmp_path, grade_with='detector')
    bench.robot.verdicts = [Outcome('lift-any', Verdict.FAILURE, 0.1)]
    collected = bench.collection.next('scripted')
    assert bench.robot.graded == {collected.info.episode_id: {'main': JPEG}}
    assert collected.source == 'detector'
    assert bench.collection.next('scripted').info.skill == 'lift'


def test_a_scene_that_is_spent_is_made_anew_before_the_next_episode_which_is_a_lift(bench):
    bench.collection.next('scripted')
    bench.collection.spend_scene()
    bench.robot.truth = [Outcome('lift-any', Verdict.FAILURE, 0.0)]
    for _ in range(2):
        bench.collection.next('scripted')
    assert [(one.skill, one.new_scene) for one in bench.robot.resets] == [('lift', True)] * 2 + [('lift', False)]


def test_an_unsure_verdict_is_no_success(tmp_path):
    bench = Bench(tmp_path, grade_with='detector')
    bench.robot.verdicts = [Outcome('lift-any', Verdict.UNSURE, 0.5)]
    assert bench.collection.next('scripted').successes == set()


def test_a_policy_that_fails_ends_its_episode_as_aborted_and_the_next_starts_from_a_new_scene(bench):
    bench.collection.next('scripted')
    bench.robot.run = PolicyRun(1, Termination.ABORTED, 'scripted', message='no eyes', fault=Fault.POLICY_FAILED)
    with pytest.raises(CollectionError, match='no eyes') as caught:
        bench.collection.next('scripted')
    assert caught.value.fault is Fault.POLICY_FAILED
    assert bench.robot.ended[-1].termination is Termination.ABORTED
    bench.robot.run = replace(bench.robot.run, termination=Termination.STEP_LIMIT, fault=None)
    bench.collection.next('scripted')
    assert bench.robot.resets[-1].new_scene
    assert bench.robot.resets[-1].skill == 'lift'
    assert bench.collection.episodes == 2


def test_a_policy_node_that_died_still_gets_its_bag_closed(bench):
    bench.robot.policy_fault = CollectionError(Fault.POLICY_FAILED, 'action policy/run is not there')
    with pytest.raises(CollectionError, match='not there'):
        bench.collection.next('scripted')
    assert bench.robot.ended[-1].termination is Termination.ABORTED


def test_an_episode_without_its_final_observation_is_a_fault_of_the_recorder(bench):
    bench.robot.missing = 'the final observation did not reach the recorder'
    with pytest.raises(CollectionError) as caught:
        bench.collection.next('scripted')
    assert caught.value.fault is Fault.RECORDER_FAILED


def test_the_bag_of_a_failed_episode_is_catalogued_with_the_next_episode(bench):
    bench.collection.next('scripted')
    well = bench.robot.run
    bench.robot.run = PolicyRun(1, Termination.ABORTED, 'scripted', message='no eyes', fault=Fault.POLICY_FAILED)
    with pytest.raises(CollectionError) as caught:
        bench.collection.next('scripted')
    bench.robot.run = well
    bench.collection.next('scripted')
    catalogued = {row.path for row in Catalogue(bench.data).episodes()}
    assert caught.value.bag in catalogued
    assert len(catalogued) == 3


def test_a_row_of_failures_calls_a_person_and_help_starts_the_count_anew(bench):
    bench.robot.reset_fault = CollectionError(Fault.RESET_FAILED, 'the simulator is gone')
    for failures in range(1, 4):
        with pytest.raises(CollectionError):
            bench.collection.next('scripted')
        assert bool(bench.collection.needs_person) is (failures == 3)
    assert bench.states[-1][0] is State.NEEDS_PERSON
    assert 'the simulator is gone' in bench.states[-1][3]
    bench.collection.helped()
    assert not bench.collection.needs_person


def test_failures_that_are_not_in_a_row_call_nobody(bench):
    for _ in range(4):
        bench.robot.reset_fault = CollectionError(Fault.RESET_FAILED, 'shaky')
        with pytest.raises(CollectionError):
            bench.collection.next('scripted')
        bench.robot.reset_fault = None
        bench.collection.next('scripted')
    assert not bench.collection.needs_person


def test_a_scene_only_a_person_can_make_calls_one_at_once(bench):
    bench.robot.reset_fault = CollectionError(Fault.RESET_FAILED, 'put the objects back', needs_person=True)
    with pytest.raises(CollectionError):
        bench.collection.next('scripted')
    assert bench.collection.needs_person == 'put the objects back'


def test_a_cancelled_episode_is_no_failure(bench):
    bench.robot.run = PolicyRun(1, Termination.ABORTED, 'scripted', message='cancelled', fault=Fault.CANCELED)
    for _ in range(5):
        with pytest.raises(CollectionError):
            bench.collection.next('scripted')
    assert not bench.collection.needs_person


def test_truth_that_was_not_recorded_is_missed(bench):
    bench.robot.truth = []
    with pytest.raises(CollectionError, match='no true outcomes') as caught:
        bench.collection.next('scripted')
    assert caught.value.fault is Fault.GRADING_FAILED


def test_a_requested_task_gets_a_scene_of_its_seed(bench):
    collected = bench.collection.requested('place-bottom', 'learned', seed=42)
    assert bench.robot.resets == [Assignment('place-bottom', 'place', 42, new_scene=True, holding=True)]
    assert (collected.info.task, collected.info.seed) == ('place-bottom', 42)


def test_the_cadence_has_a_line_per_episode(bench):
    for _ in range(2):
        append_cadence(
            bench.data, replace(bench.collection.next('scripted'), seconds=0.25), image_age=0.002, period=0.5
        )
    first, _ = map(json.loads, cadence_file(bench.data).read_text().splitlines())
    assert first['steps'] == 1
    assert first['decision_time'] == 0.01
    assert first['steps_per_second'] == 4.0
    assert (first['late_steps'], first['slowest_step']) == (1, 0.7)


def test_a_line_of_the_cadence_that_was_cut_off_takes_no_other_with_it(bench):
    cadence_file(bench.data).write_text('{"episode_id": "torn", "ste')
    for _ in range(2):
        append_cadence(bench.data, bench.collection.next('scripted'), image_age=None, period=0.5)
    assert len(read_cadence(bench.data)) == 2
    assert damaged_lines(bench.data) == 1


def test_the_curriculum_draws_the_policy_and_the_bag_keeps_its_rules_and_what_it_drew(tmp_path):
    rules = Curriculum(exploration=0.25, sources=Sources(before={'learned:lift-any': 1.0}))
    bench = Bench(tmp_path, curriculum=rules)
    assert bench.collection.next('curriculum').info.task
    bench.robot.have_learned = True
    bench.robot.truth = [Outcome('lift-any', Verdict.FAILURE, 0.0)]
    collected = bench.collection.next('curriculum')
    assert bench.robot.explored == [('scripted', 0.0), ('learned:lift-any', 0.25)]
    kept = json.loads(read_episode(collected.recorded.path).info.configuration)['curriculum']
    assert kept['drawn'] == {'policy': 'learned:lift-any', 'exploration': 0.25}
    assert Curriculum.model_validate(kept['rules']) == rules
    assert bench.collection.drawn.policy == 'learned:lift-any'
    assert {one.task for one in bench.collection.practice()} == set(load_tasks().names)


def test_without_a_curriculum_its_policy_is_an_error_with_a_name(bench):
    with pytest.raises(CollectionError, match='curriculum'):
        bench.collection.next('curriculum')
