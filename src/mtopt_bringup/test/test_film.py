"""An episode's video shows what the policy tried and did, plays in a browser, and changes nothing."""

import errno
from dataclasses import replace

import av
import numpy as np
import pytest

from mtopt_bringup.episode_workers import Filming, Workplace
from mtopt_bringup.evaluate import evaluate, evaluation_job
from mtopt_bringup.film_frame import HEIGHT, MARGIN, TOP, VIEW, WIDTH, colours_of, draw
from mtopt_bringup.film_moment import Decision, Frame, Iteration, Titles, View
from mtopt_bringup.simulation_worker import Worker
from mtopt_bringup.video_file import VideoError, VideoFile
from mtopt_core.configuration import load_cell
from mtopt_core.episode import Action, Source
from mtopt_core.errors import ConfigurationError
from mtopt_core.tasks import load_tasks
from mtopt_core.viewpoint import Viewpoint

SIZE = (64, 48)
# Looks straight down from a metre: a point's place in the picture is easily told.
ABOVE = Viewpoint(np.array([0, 0, 1.0]), np.eye(3), np.pi / 2)
VIEWS = [View(name, np.full((VIEW, VIEW, 3), 90, np.uint8), ABOVE) for name in ('main', 'wrist')]
TITLES = Titles('lift-can', 'learned v1', 'episode 0', 20)


def in_view(picture, column, point):
    x, y = ABOVE.project(np.array([point]))[0] * VIEW
    return tuple(picture[TOP + round(y), MARGIN + column * (VIEW + MARGIN) + round(x)].tolist())


def decision(**fields):
    iteration = Iteration(np.array([[0.2, 0.1, 0], [-0.2, 0.1, 0]]), np.array([0, 1]), np.array([0.3, 0.8]))
    action = Action(np.array([0.3, 0, 0]), source=Source.LEARNED, q_value=0.8)
    return Decision(np.zeros(3), replace(action, **fields), (iteration,))


def play(path):
    """Return the first stream of a video and its pictures."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format='rgb24') for frame in container.decode(stream)]
        return stream.codec_context.name, stream.codec_context.pix_fmt, pictures


def test_what_cem_tried_is_drawn_in_every_view_coloured_by_its_q():
    picture = draw(Frame(TITLES, VIEWS, [decision()], searching=0))
    assert picture.shape == (HEIGHT, WIDTH, 3)
    low, high = colours_of(np.array([0.3, 0.8]), (0.3, 0.8))
    for column in range(2):
        assert in_view(picture, column, [0.2, 0.1, 0]) == low
        assert in_view(picture, column, [-0.2, 0.1, 0]) == high
        assert in_view(picture, column, [0, -0.3, 0]) == (90, 90, 90)


def test_the_action_is_an_arrow_from_the_tip_once_it_is_decided():
    searching, acting = (draw(Frame(TITLES, VIEWS, [decision()], number)) for number in (0, None))
    halfway = [0.15, 0, 0]
    assert in_view(acting, 0, halfway) == (255, 255, 255)
    assert in_view(searching, 0, halfway) == (90, 90, 90)
    assert in_view(acting, 0, [0.2, 0.1, 0]) == (90, 90, 90)


def test_what_is_behind_a_camera_is_not_drawn():
    behind = Decision(
        np.array([0, 0, 2.0]),
        Action(np.array([0.3, 0, 0])),
        (Iteration(np.array([[0.2, 0.1, 2.0]]), np.array([0]), np.array([0.5])),),
    )
    view = slice(TOP, TOP + VIEW), slice(MARGIN, MARGIN + VIEW)
    empty = draw(Frame(TITLES, VIEWS, []))[view]
    assert all(np.array_equal(draw(Frame(TITLES, VIEWS, [behind], number))[view], empty) for number in (0, None))


def test_the_curve_and_the_bars_follow_q():
    def panel(q):
        return draw(Frame(TITLES, VIEWS, [decision(q_value=q)]))[TOP + VIEW + MARGIN :]

    def height(picture):
        return np.flatnonzero((picture == 255).all(axis=2).any(axis=1)).mean()

    assert height(panel(0.9)) < height(panel(0.5)) < height(panel(0.1))
    assert not (draw(Frame(TITLES, VIEWS, [decision(q_value=np.nan)]))[TOP + VIEW + MARGIN :] == 255).all(axis=2).any()


def test_a_video_is_h264_that_browsers_play(tmp_path):
    with VideoFile(tmp_path / 'videos', 'one', SIZE, 25) as video:
        for grey in (0, 120, 240):
            video.add(np.full((48, 64, 3), grey, np.uint8), repeat=2)
        assert not list((tmp_path / 'videos').glob('*.mp4'))
        path = video.finish('one.mp4')
    codec, pixels, pictures = play(path)
    assert (codec, pixels) == ('h264', 'yuv420p')
    assert [round(picture.mean() / 120) for picture in pictures] == [0, 0, 1, 1, 2, 2]
    # The index comes before the pictures.
    assert path.read_bytes().index(b'moov') < path.read_bytes().index(b'mdat')
    assert list(path.parent.iterdir()) == [path]


def test_a_video_that_is_not_finished_leaves_nothing_and_one_before_it_unharmed(tmp_path):
    def film(frames):
        with VideoFile(tmp_path, 'one', SIZE, 25) as video:
            for frame in frames:
                video.add(np.full((48, 64, 3), 9 / frame, np.uint8))
            return video.finish('one.mp4')

    path = film([1])
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        film([1] * 60 + [0])
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(VideoError, match=r'file.*cannot be written'):
        VideoFile(tmp_path / 'file', 'one', SIZE, 25)


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('pathlib.Path.rename', full)
    with VideoFile(tmp_path, 'one', SIZE, 25) as video:
        video.add(np.zeros((48, 64, 3), np.uint8))
        with pytest.raises(VideoError, match='No space left'):
            video.finish('one.mp4')
    assert not list(tmp_path.iterdir())


def test_a_filmed_episode_goes_as_it_does_unfilmed_and_its_video_is_named_by_how(checkpoints, tmp_path):
    plain = Workplace(load_cell(), load_tasks(), checkpoints={'mine': checkpoints['one']})
    job = evaluation_job('mine', 'place-any', (0, 1, load_tasks().index('place-any')))
    filmed = Worker(replace(plain, filming=Filming(tmp_path, frozenset({1})))).run(job)
    unfilmed = Worker(plain).run(job)
    assert (filmed.steps, filmed.outcomes) == (unfilmed.steps, unfilmed.outcomes)
    (path,) = tmp_path.iterdir()
    assert path.name == f'place-any_0001_mine_{"success" if filmed.solved else "failure"}.mp4'
    codec, _, pictures = play(path)
    assert codec == 'h264'
    # Every step moves for half a second of 25 pictures.
    assert len(pictures) > 12 * filmed.steps
    assert pictures[0].shape == (HEIGHT, WIDTH, 3)


def test_evaluate_films_the_episodes_chosen_of_every_task(tmp_path):
    options = {'tasks': 'lift-any,place-any', 'policy': ['scripted'], 'episodes': 2, 'workers': 1, 'image_size': 32}
    evaluate(**options, videos=tmp_path, video_episodes='1')
    assert sorted(path.name[:14] for path in tmp_path.iterdir()) == ['lift-any_0001_', 'place-any_0001']


@pytest.mark.parametrize('numbers', ['2', '-1', '0,,1', 'all', ''])
def test_episodes_that_there_are_not_cannot_be_filmed(numbers, tmp_path):
    with pytest.raises(ConfigurationError, match='--video-episodes'):
        evaluate(policy=['scripted'], tasks='lift-any', episodes=2, videos=tmp_path, video_episodes=numbers)
