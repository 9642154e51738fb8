"""Outcomes beside the episode store: always what the label store says, without reading all of it again."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from mtopt_core.episode import Outcome, Verdict
from mtopt_core.label_store import DETECTOR, HUMAN, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.tasks import load_tasks
from mtopt_policy.learner.episode_index import EpisodeIndex, line
from mtopt_policy.learner.outcomes import Outcomes

TASKS = load_tasks()
SUCCESS, FAILURE, UNSURE = Verdict.SUCCESS, Verdict.FAILURE, Verdict.UNSURE
EPISODES = 40


@pytest.fixture
def data(tmp_path) -> DataFolder:
    return DataFolder(tmp_path)


def index_of(*numbers: int) -> EpisodeIndex:
    index = EpisodeIndex()
    index.extend([[line(f'e{number:03d}', 'lift-can', 1, '').encode() for number in numbers]])
    return index


def grade(data: DataFolder, source: str, version: str, verdicts: dict[int, Verdict], task: str = 'lift-can') -> None:
    with closing(LabelStore(data)) as labels:
        graded = {f'e{number:03d}': [Outcome(task, verdict, 0.5)] for number, verdict in verdicts.items()}
        labels.add_many(source, version, graded, 'Ada' if source == HUMAN else '')


def outcomes_of(data: DataFolder) -> Outcomes:
    return Outcomes(data, data.root, TASKS, (HUMAN, DETECTOR))


def lift_can(outcomes: Outcomes, index: EpisodeIndex) -> list[int]:
    return outcomes.of(index)[:, TASKS.index('lift-can')].tolist()


@pytest.fixture
def asked(monkeypatch) -> list[int | None]:
    """Return a list that tells of how many episodes the label store was asked, None for all."""
    numbers, verdicts = [], LabelStore.verdicts

    def counted(store, source, tasks, episode_ids=None):
        numbers.append(None if episode_ids is None else len(episode_ids))
        return verdicts(store, source, tasks, episode_ids)

    monkeypatch.setattr(LabelStore, 'verdicts', counted)
    return numbers


def test_a_humans_verdict_replaces_the_detectors_even_an_unsure_one(data):
    grade(data, HUMAN, '', {0: UNSURE, 1: FAILURE})
    grade(data, DETECTOR, '1', {0: SUCCESS, 1: SUCCESS, 2: SUCCESS})
    grade(data, DETECTOR, '1', {3: SUCCESS}, 'lift-any')
    assert lift_can(outcomes_of(data), index_of(0, 1, 2, 3)) == [UNSURE, FAILURE, SUCCESS, UNSURE]


def test_outcomes_for_tasks_that_are_not_in_the_set_are_ignored(data):
    grade(data, DETECTOR, '1', {0: SUCCESS}, 'fold-cloth')
    grade(data, DETECTOR, '1', {1: SUCCESS})
    outcomes = outcomes_of(data).of(index_of(0, 1))
    assert outcomes.shape == (2, len(TASKS))
    assert (outcomes[0] == UNSURE).all()
    assert outcomes[1, TASKS.index('lift-can')] == SUCCESS


def test_the_newest_detector_wins_also_where_an_older_one_grades_later(data):
    index, outcomes = index_of(0, 1), outcomes_of(data)
    grade(data, DETECTOR, '20261102T000000_000100', {0: SUCCESS, 1: SUCCESS})
    assert lift_can(outcomes, index) == [SUCCESS, SUCCESS]
    grade(data, DETECTOR, '20261101T000000_000900', {0: FAILURE})
    grade(data, DETECTOR, '20261103T000000_000100', {1: FAILURE})
    assert lift_can(outcomes, index) == [SUCCESS, FAILURE]


def test_only_new_and_newly_graded_episodes_are_looked_up_again(data, asked):
    grade(data, DETECTOR, '1', dict.fromkeys(range(EPISODES + 1), SUCCESS))
    outcomes = outcomes_of(data)
    assert lift_can(outcomes, index_of(*range(EPISODES))) == [SUCCESS] * EPISODES
    grade(data, DETECTOR, '2', {7: FAILURE})
    asked.clear()
    expected = [SUCCESS] * 7 + [FAILURE] + [SUCCESS] * (EPISODES - 7)
    assert lift_can(outcomes, index_of(*range(EPISODES + 1))) == expected
    assert asked == [2, 2], 'the regraded one and the new one, of either source'


def test_a_restart_looks_up_only_what_was_graded_since(data, asked):
    index = index_of(*range(EPISODES))
    grade(data, DETECTOR, '1', dict.fromkeys(range(EPISODES), SUCCESS))
    outcomes_of(data).of(index)
    grade(data, HUMAN, '', {5: FAILURE})
    asked.clear()
    assert lift_can(outcomes_of(data), index) == [SUCCESS] * 5 + [FAILURE] + [SUCCESS] * (EPISODES - 6)
    assert asked == [1, 1]


def test_a_verdict_that_was_taken_back_is_forgotten(data):
    index, outcomes = index_of(*range(EPISODES)), outcomes_of(data)
    grade(data, HUMAN, '', dict.fromkeys(range(EPISODES), SUCCESS))
    outcomes.of(index)
    data.journal.write_text(''.join(data.journal.read_text().splitlines(keepends=True)[1:]))
    with closing(LabelStore(data)) as labels:
        labels.restore_journal()
    assert lift_can(outcomes, index) == [UNSURE] + [SUCCESS] * (EPISODES - 1)


def test_other_sources_are_kept_apart(data):
    index = index_of(0)
    grade(data, HUMAN, '', {0: FAILURE})
    grade(data, DETECTOR, '1', {0: SUCCESS})
    assert lift_can(outcomes_of(data), index) == [FAILURE]
    assert lift_can(Outcomes(data, data.root, TASKS, (DETECTOR, HUMAN)), index) == [SUCCESS]


def test_a_label_store_made_anew_is_read_anew(data):
    index, outcomes = index_of(*range(EPISODES)), outcomes_of(data)
    grade(data, DETECTOR, '1', dict.fromkeys(range(EPISODES), SUCCESS))
    outcomes.of(index)
    for path in data.root.glob('labels*'):
        path.unlink()
    grade(data, DETECTOR, '1', {3: FAILURE})
    assert lift_can(outcomes, index) == [UNSURE] * 3 + [FAILURE] + [UNSURE] * (EPISODES - 4)


def test_a_label_store_from_before_gradings_were_numbered_is_read(data):
    grade(data, DETECTOR, '1', {0: SUCCESS})
    with closing(sqlite3.connect(data.labels)) as database:
        database.execute('DROP TABLE gradings')
    assert lift_can(outcomes_of(data), index_of(0)) == [SUCCESS]


@pytest.mark.parametrize('left', [0, 100])
def test_damaged_kept_outcomes_are_replaced(data, left):
    index = index_of(*range(EPISODES))
    grade(data, DETECTOR, '1', dict.fromkeys(range(EPISODES), SUCCESS))
    outcomes_of(data).of(index)
    (kept,) = data.root.glob('outcomes-*.npz')
    kept.write_bytes(kept.read_bytes()[:left])
    assert lift_can(outcomes_of(data), index) == [SUCCESS] * EPISODES
    assert len(np.load(kept)['outcomes']) == EPISODES
