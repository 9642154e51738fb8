"""Log replay and the episode store: from bags to transitions, once each."""

import shutil
from contextlib import closing

import numpy as np
import pytest

from mtopt_core.configuration import StepConfiguration
from mtopt_core.episode import Outcome, Termination, Verdict
from mtopt_core.episode_bag import read_episode
from mtopt_core.images import crop_resize, decode_jpeg, decode_square
from mtopt_core.label_store import LabelStore
from mtopt_core.task_file import renamed
from mtopt_core.tasks import load_tasks
from mtopt_policy.action_space import ActionSpace
from mtopt_policy.learner.batches import FILL, Loader
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.learner.log_replay import LogReplay, held_out
from mtopt_policy.learner.transitions import StoreLayout, read_transitions

TASKS = load_tasks()
EASED = ActionSpace.eased(StepConfiguration())
LAYOUT = StoreLayout(views=('main', 'wrist'), image_size=32, action_space=EASED, shard_rows=7)
SIMULATOR = ('simulator',)


def replay_of(data, layout=LAYOUT, sources=SIMULATOR) -> LogReplay:
    return LogReplay(data, TASKS, sources, layout)


def known_outcomes(replay, number) -> dict[str, bool]:
    row = replay.training.outcomes[number]
    return {name: bool(verdict) for name, verdict in zip(TASKS.names, row, strict=True) if verdict != Verdict.UNSURE}


def test_a_transition_holds_what_was_seen_and_decided(record):
    data = record(5, moves=2).data
    replay = replay_of(data)
    assert replay.read() == 5
    store = replay.store
    for index, episode_id in enumerate(store.index.ids):
        episode = read_episode(data.bags / episode_id.decode())
        rows = np.array(store.rows_of(index))
        assert len(rows) == 3, 'two moves and the closing; a scripted ending is no decision'
        records, images = store.records(rows), store.images(rows)
        np.testing.assert_array_equal(records['remaining'], [2, 1, 0])
        for place, step in enumerate(episode.steps[:3]):
            np.testing.assert_allclose(records['action'][place], EASED.encode(step.action, step.observation))
            np.testing.assert_allclose(records['state'][place], [0, 0.1, 0.08])
            expected = decode_square(step.observation.images['wrist'], 32)
            np.testing.assert_array_equal(images[1, place], expected)


def test_the_next_state_is_that_of_the_following_decision_and_a_terminal_transition_has_none(record):
    replay = replay_of(record(5, moves=2).data)
    replay.read()
    rows = np.array([0, 2, 4])
    transitions = Loader(replay.store).unlabelled(rows, np.zeros((3, len(TASKS)), np.int8))
    assert transitions.going_on.tolist() == [True, False, True]
    following = np.array([1] + [5] * (FILL - 1))
    expected = replay.store.images(following).transpose(1, 0, 4, 2, 3)
    np.testing.assert_array_equal(transitions.next_states.images, expected)
    np.testing.assert_array_equal(transitions.next_actions, replay.store.records(following)['action'])


@pytest.mark.parametrize(('share', 'expected'), [(None, 1 / 3), (0.0, 0.0), (0.6, 0.6), (1.0, 1.0)])
def test_the_share_of_last_transitions_is_the_one_asked_for_and_the_others_are_drawn_evenly(record, share, expected):
    replay = replay_of(record(4, moves=2).data)
    replay.read()
    rows = replay.store.sample_rows(np.arange(4000) % 4, np.random.default_rng(0), share)
    np.testing.assert_array_equal(rows // 3, np.arange(4000) % 4, 'one of each episode asked for')
    shares = np.bincount(rows % 3, minlength=3) / 4000
    np.testing.assert_allclose(shares, [(1 - expected) / 2, (1 - expected) / 2, expected], atol=0.03)


def test_an_episode_of_one_transition_gives_that_whatever_the_share_of_last_transitions(record):
    replay = replay_of(record(3, moves=0).data)
    replay.read()
    np.testing.assert_array_equal(replay.store.sample_rows(np.arange(3), np.random.default_rng(0), 0.0), [0, 1, 2])


def test_rows_of_several_shards_are_gathered_in_the_order_asked_for(record):
    replay = replay_of(record(20).data)
    replay.read()
    store = replay.store
    rows = np.random.default_rng(0).permutation(store.rows)
    together, alone = store.images(rows), [store.images(np.array([row])) for row in rows]
    np.testing.assert_array_equal(together, np.concatenate(alone, axis=1))


def test_a_restart_reads_only_new_bags(record):
    data = record(6).data
    replay_of(data).read()
    record(3)
    again = replay_of(data)
    assert again.read() == 3
    assert again.read() == 0
    assert [name.decode() for name in again.store.index.ids] == sorted(path.name for path in data.bags.iterdir())


def test_what_another_process_appended_is_seen(record):
    data = record(6).data
    here, there = replay_of(data), replay_of(data)
    there.read()
    assert here.read() == 0
    assert here.store.rows == there.store.rows == 12
    np.testing.assert_array_equal(here.store.images(np.arange(12)), there.store.images(np.arange(12)))


def test_what_a_crash_left_half_written_is_overwritten(record):
    data = record(6).data
    replay = replay_of(data)
    replay.read()
    whole = replay.store.images(np.arange(12))
    folder = data.root / 'replay' / LAYOUT.key
    index = (folder / 'episodes.jsonl').read_text().splitlines(keepends=True)
    (folder / 'episodes.jsonl').write_text(''.join(index[:4]) + index[4][:20])
    shutil.rmtree(sorted(data.bags.iterdir())[4])
    again = replay_of(data)
    assert again.store.rows == 8
    assert again.read() == 1
    np.testing.assert_array_equal(again.store.images(np.arange(10)), np.delete(whole, [8, 9], axis=1))


def test_large_images_are_kept_as_jpeg(record):
    layout = LAYOUT.model_copy(update={'image_size': 160})
    data = record(2).data
    replay = replay_of(data, layout)
    replay.read()
    path = data.bags / replay.store.index.ids[0].decode()
    expected = crop_resize(decode_jpeg(read_episode(path).steps[0].observation.images['main']), 160)
    image = replay.store.images(np.array([0]))[0, 0]
    assert np.abs(image.astype(int) - expected).mean() < 2
    assert sum(file.stat().st_size for file in (data.root / 'replay').rglob('images')) < image.size


def test_images_of_other_sizes_are_cut_square_and_resized(record):
    record(1)
    record(1, reshape=lambda image: image.repeat(2, axis=0).repeat(2, axis=1))
    record(1, reshape=lambda image: np.pad(image, ((0, 0), (10, 10), (0, 0))))
    data = record(1, reshape=lambda image: image[::4, ::4]).data
    replay = replay_of(data)
    replay.read()
    assert replay.store.rows == 8
    for index, episode_id in enumerate(replay.store.index.ids):
        recorded = read_episode(data.bags / episode_id.decode()).steps[0].observation.images['main']
        expected = decode_square(recorded, 32)
        np.testing.assert_array_equal(replay.store.images(np.array([2 * index]))[0, 0], expected)


def test_a_damaged_bag_is_set_aside_with_the_reason_and_the_rest_goes_on(record):
    data = record(4).data
    bag = sorted(data.bags.iterdir())[1]
    file = next(bag.glob('*.mcap'))
    file.write_bytes(file.read_bytes()[:-500])
    replay = replay_of(data)
    replay.read()
    assert len(replay.store.index) == 3
    assert 'truncated' in (data.set_aside / bag.name / 'reason.txt').read_text()


def test_a_bag_that_cannot_be_read_now_stays_and_is_read_later(record):
    data = record(3).data
    file = next(sorted(data.bags.iterdir())[1].glob('*.mcap'))
    whole = file.rename(data.root / file.name)
    # Opening a link to itself fails, also for root.
    file.symlink_to(file.name)
    replay = replay_of(data)
    replay.read()
    assert len(replay.store.index) == 2
    assert replay.replay().left_out == {'its bag cannot be read now': 1}
    whole.replace(file)
    assert replay.read() == 1
    assert replay.replay().left_out == {}
    assert len(replay.store.index) == 3


def test_a_copy_of_a_bag_is_not_another_episode(record):
    data = record(2).data
    shutil.copytree(data.bags / 'episode_00001', data.bags / 'episode_00001_copy')
    replay = replay_of(data)
    replay.read()
    assert len(replay.store.index) == 2
    assert 'says that it is episode episode_00001' in (data.set_aside / 'episode_00001_copy' / 'reason.txt').read_text()
    assert replay.read() == 0


@pytest.mark.parametrize(
    ('how', 'reason'),
    [
        ({'cameras': ('main',)}, 'it has no images of wrist'),
        ({'termination': Termination.ABORTED}, 'it was aborted'),
        (
            {'skill': 'push'},
            "skill 'push' has no finishing choice, known: lift, place, cover; use the full action space",
        ),
        ({'task': 'fold-cloth'}, 'its task fold-cloth is not in the task set'),
    ],
)
def test_an_episode_that_cannot_be_used_is_left_out_by_name(record, how, reason):
    record(3)
    data = record(2, **how).data
    replay = replay_of(data)
    replay.read()
    found = replay.replay()
    assert found.left_out == {reason: 2}
    assert len(found.training) + len(found.held_out) == 3


def test_outcomes_count_by_source_and_unsure_ones_do_not(record):
    data = record(3).data
    first, second, _third = sorted(path.name for path in data.bags.iterdir())
    with_detector = LabelStore(data)
    unsure = [Outcome('lift-any', Verdict.SUCCESS, 0.9), Outcome('lift-can', Verdict.UNSURE, 0.5)]
    with_detector.add_many('detector', 'v1', {first: unsure, second: [Outcome('lift-can', Verdict.UNSURE, 0.5)]})
    with_detector.add(first, 'human', '', [Outcome('lift-any', Verdict.FAILURE, 0.0)], 'Ada')
    with_detector.close()
    replay = replay_of(data, sources=('human', 'detector'))
    replay.read()
    found = replay.replay()
    assert replay.store.index.ids[found.training.places].tolist() == [first.encode()]
    assert known_outcomes(found, 0) == {'lift-any': False}
    assert found.left_out == {'no outcome is known': 2}


def test_an_episode_whose_bag_was_deleted_is_not_used_any_more(record):
    data = record(3).data
    replay = replay_of(data)
    replay.read()
    shutil.rmtree(sorted(data.bags.iterdir())[0])
    replay.read()
    assert replay.replay().left_out == {'its bag is gone': 1}


def test_one_episode_in_twenty_is_held_out_whatever_else_there_is(record):
    ids = np.array([b'20261123T101500_robot_%08x' % number for number in range(4000)])
    chosen = held_out(ids)
    assert 150 < chosen.sum() < 250
    np.testing.assert_array_equal(held_out(ids[1000:]), chosen[1000:])


def test_another_layout_is_another_store(record):
    data = record(2).data
    larger = LAYOUT.model_copy(update={'image_size': 64})
    replay_of(data).read()
    assert replay_of(data, larger).read() == 2


def test_worker_processes_read_the_same(record, monkeypatch):
    data = record(12).data
    alone = EpisodeStore(data.root / 'alone', LAYOUT)
    with alone.locked():
        alone.append([read_transitions(path, LAYOUT) for path in sorted(data.bags.iterdir())])
    monkeypatch.setattr('mtopt_policy.learner.log_replay.WORTH_A_WORKER', 2)
    monkeypatch.setattr('os.cpu_count', lambda: 2)
    replay = replay_of(data)
    replay.read()
    np.testing.assert_array_equal(replay.store.images(np.arange(24)), alone.images(np.arange(24)))


def test_episodes_and_outcomes_of_a_task_that_was_renamed_are_still_learned_from(record):
    data = record(8, moves=1, task='lift-can').data
    before = replay_of(data)
    before.read()
    old = before.replay()
    with closing(LabelStore(data)) as store:
        store.rename_task('lift-can', 'lift-tin')
    now = renamed(TASKS, 'lift-can', 'lift-tin')
    after = LogReplay(data, now, SIMULATOR, LAYOUT)
    after.read()
    new = after.replay()
    assert not new.left_out
    assert len(new.training) == len(old.training) > 0
    np.testing.assert_array_equal(new.training.tasks, old.training.tasks)
    np.testing.assert_array_equal(new.training.outcomes, old.training.outcomes)
