"""Episodes as bags: which topics a bag of ours has, writing one without ROS, reading one back."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mtopt_core.bag import BagReader, BagWriter
from mtopt_core.configuration import CellConfiguration
from mtopt_core.episode import Episode, EpisodeInfo, Observation, Outcome, Step, Termination
from mtopt_core.errors import BagError
from mtopt_core.message_types import (
    ACTION,
    COLLECTOR_STATUS,
    COMPRESSED_IMAGE,
    EPISODE_INFO,
    JOINT_STATE,
    MODEL_VERSION,
    OBSERVATION,
    STEP,
    TASK_OUTCOMES,
    Message,
    deserialize,
    header_stamp,
    image_data,
    serialize,
)
from mtopt_core.messages import (
    PHASE_END,
    PHASE_START,
    action_from_message,
    action_to_message,
    episode_info_from_message,
    episode_info_to_message,
    image_to_message,
    observation_from_message,
    observation_to_message,
    outcomes_from_message,
    outcomes_to_message,
    stamp_of,
)

TOPICS = {
    'episode': EPISODE_INFO,
    'observation': OBSERVATION,
    'action': ACTION,
    'step': STEP,
    'joint_states': JOINT_STATE,
    'outcomes': TASK_OUTCOMES,
    'true_outcomes': TASK_OUTCOMES,
    'status': COLLECTOR_STATUS,
    'policy/model_version': MODEL_VERSION,
    'success_detector/model_version': MODEL_VERSION,
}
"""Message type by topic, relative to the robot's namespace; the cameras' topics come on top."""

SIMULATOR = 'simulator'
LATCHED_TOPICS = frozenset({'policy/model_version', 'success_detector/model_version'})


def camera_topic(camera: str) -> str:
    """Return the topic of a camera's JPEGs, relative to the robot's namespace."""
    return f'cameras/{camera}/compressed'


class RecordedGrading(NamedTuple):
    """One grading recorded in a bag.

    Attributes:
        episode_id: The episode graded.
        source: `detector`, `human` or `simulator`.
        model_version: Version of the detector, empty for others.
        outcomes: One per task graded.
    """

    episode_id: str
    source: str
    model_version: str
    outcomes: list[Outcome]


def write_episode(
    folder: Path, episode: Episode, cell: CellConfiguration, true_outcomes: Iterable[Outcome] = ()
) -> Path:
    """Write an episode as a bag, as the recorder would have.

    Args:
        folder: Folder of the bags.
        episode: What happened.
        cell: Its `recording` says how large a chunk is.
        true_outcomes: The simulator's outcomes of the final state.

    Returns:
        The bag, named by the episode's id.

    Raises:
        BagError: The id is taken or the folder cannot be written.
    """
    info = episode.info
    writer = BagWriter(folder, info.episode_id, cell.recording.chunk_size)
    namespace = f'/{info.robot}'

    def write(topic: str, message: Message, stamp: int) -> None:
        writer.write(f'{namespace}/{topic}', message.__msgtype__, serialize(message), stamp)

    # A policy that terminates leaves its last observation as the final one: one stamp, written once.
    observations = {step.observation.stamp: step.observation for step in episode.steps}
    observations[episode.final.stamp] = episode.final
    actions = {step.observation.stamp: (number, step.action) for number, step in enumerate(episode.steps)}
    start, end = min(observations), max(observations)
    write('episode', episode_info_to_message(info, PHASE_START, start), start)
    for stamp, observation in observations.items():
        for camera, jpeg in observation.images.items():
            write(camera_topic(camera), image_to_message(camera, stamp, jpeg), stamp)
        write('observation', observation_to_message(observation), stamp)
        if stamp in actions:
            number, action = actions[stamp]
            write('action', action_to_message(action, stamp, info.episode_id, number), stamp)
    outcomes = tuple(true_outcomes)
    if outcomes:
        write('true_outcomes', outcomes_to_message(outcomes, end, info.episode_id, SIMULATOR), end)
    write('episode', episode_info_to_message(info, PHASE_END, end), end)
    return writer.finish()


def read_episode(path: Path) -> Episode:
    """Read an episode back, whoever wrote its bag: actions matched to observations by stamp, images to both.

    Streams may hold more observations than there were actions, and the bag topics of others. A last action whose
    result was never seen is left out.

    Raises:
        BagError: The bag is truncated, damaged, foreign, empty or mistyped, an action is not finite, or an action's
            observation or an observation's image is missing.
    """
    with BagReader(path) as bag:
        namespace = _namespace(bag)
        cameras = recorded_cameras(bag)
        own = {f'{namespace}/{name}': name for name in ('episode', 'observation', 'action')}
        serialised: dict[str, list[bytes]] = {name: [] for name in own.values()}
        images: dict[tuple[str, int], bytes] = {}
        try:
            for message in bag.messages([*own, *cameras]):
                if message.topic in own:
                    serialised[own[message.topic]].append(message.cdr)
                else:
                    images[cameras[message.topic], header_stamp(message.cdr)] = message.cdr
            return _assemble(
                _info(serialised['episode']),
                {header_stamp(cdr): cdr for cdr in serialised['observation']},
                [deserialize(cdr, ACTION) for cdr in serialised['action']],
                images,
            )
        except ValueError as error:
            raise BagError(f'bag {path}: {error}') from None


def read_named_episode(path: Path) -> Episode:
    """Read a bag of a data folder, where every bag has its episode's name: a copy beside it is not another episode.

    Raises:
        BagError: As `read_episode`, and where the name is another one.
    """
    episode = read_episode(path)
    if episode.info.episode_id != path.name:
        raise BagError(
            f'bag {path.name} says that it is episode {episode.info.episode_id}; a bag is named by its episode'
        )
    return episode


def read_final(path: Path) -> Observation:
    """Read what was seen last, as `read_episode(path).final`, but without the way there, however long it was.

    The chunks are read from the last one on, until they hold the episode's end and an observation with its images.

    Raises:
        BagError: What had to be read is truncated, damaged, foreign or mistyped, or an image is missing.
    """
    with BagReader(path) as bag:
        namespace = _namespace(bag)
        cameras = recorded_cameras(bag)
        episode, seen = f'{namespace}/episode', f'{namespace}/observation'
        first = bag.chunks
        while first > 0:
            first = max(0, 2 * first - bag.chunks - 1)
            ended, newest, images = False, b'', {}
            try:
                for message in bag.messages([episode, seen, *cameras], first):
                    if message.topic == seen:
                        newest = max(newest or message.cdr, message.cdr, key=header_stamp)
                    elif message.topic == episode:
                        ended = deserialize(message.cdr, EPISODE_INFO).phase == PHASE_END
                    else:
                        images[cameras[message.topic], header_stamp(message.cdr)] = message.cdr
                if ended and newest and (final := _seen(newest, images)) is not None:
                    return final
            except ValueError as error:
                raise BagError(f'bag {path}: {error}') from None
    return read_episode(path).final


def read_outcomes(path: Path) -> list[RecordedGrading]:
    """Read the gradings recorded in a bag, the simulator's included.

    Raises:
        BagError: The bag is truncated, damaged, foreign or mistyped.
    """
    with BagReader(path) as bag:
        namespace = _namespace(bag)
        try:
            messages = [
                deserialize(message.cdr, TASK_OUTCOMES)
                for message in bag.messages([f'{namespace}/outcomes', f'{namespace}/true_outcomes'])
            ]
            return [
                RecordedGrading(
                    message.episode_id, message.source, message.model_version, outcomes_from_message(message)
                )
                for message in messages
            ]
        except ValueError as error:
            raise BagError(f'bag {path}: {error}') from None


def recorded_cameras(bag: BagReader) -> dict[str, str]:
    """Return the names of the cameras whose JPEGs a bag holds, by their topics.

    Raises:
        BagError: The bag is foreign or mistyped.
    """
    prefix = f'{_namespace(bag)}/cameras/'
    return {
        topic: topic.removeprefix(prefix).removesuffix('/compressed')
        for topic, type_name in bag.topics.items()
        if type_name == COMPRESSED_IMAGE and topic.startswith(prefix)
    }


def episode_ids(folder: Path) -> list[str]:
    """Return the ids of the complete bags in a folder, in order of time."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith('.'))


def _namespace(bag: BagReader) -> str:
    """Return the robot's namespace, `/<robot>`, of a bag that has our topics with our types.

    Raises:
        BagError: The bag is foreign or mistyped.
    """
    namespaces = [topic.removesuffix('/episode') for topic in bag.topics if topic.endswith('/episode')]
    if len(namespaces) != 1:
        raise BagError(
            f'bag {bag.path} is not of mtopt: expected one topic /<robot>/episode, found {len(namespaces)} '
            f'among {", ".join(sorted(bag.topics)) or "no topics"}'
        )
    for name, expected in TOPICS.items():
        found = bag.topics.get(f'{namespaces[0]}/{name}', expected)
        if found != expected:
            raise BagError(f'bag {bag.path} is mistyped: {namespaces[0]}/{name} is {found}, expected {expected}')
    return namespaces[0]


def _info(serialised: list[bytes]) -> EpisodeInfo:
    """Return what the episode is: as it ended, or aborted where a crash cut it off before its end."""
    messages = [deserialize(cdr, EPISODE_INFO) for cdr in serialised]
    if not messages:
        raise ValueError('it is empty: no message on the episode topic')
    newest = max(messages, key=lambda message: message.phase)
    info = episode_info_from_message(newest)
    if newest.phase == PHASE_END:
        return info
    return replace(info, termination=Termination.ABORTED, message='cut off before its end')


def _assemble(
    info: EpisodeInfo,
    observations: dict[int, bytes],
    actions: list[Message],
    images: dict[tuple[str, int], bytes],
) -> Episode:
    """Put an episode together.

    Args:
        info: What it is.
        observations: Serialised messages by stamp, ns.
        actions: Messages, of other episodes too.
        images: Serialised messages by camera and stamp, ns.

    Raises:
        ValueError: Something is missing or not finite.
    """
    if not observations:
        raise ValueError('it is empty: no observation was recorded')

    own = sorted((action for action in actions if action.episode_id == info.episode_id), key=lambda action: action.step)
    if info.termination is Termination.ABORTED:
        observations = _without_blind_end(observations, images)
        own = [action for action in own if stamp_of(action.header.stamp) <= max(observations)]

    def observation_at(stamp: int) -> Observation:
        message = deserialize(observations[stamp], OBSERVATION)
        keys = _images_of(message)
        for camera, image_stamp in keys:
            if (camera, image_stamp) not in images:
                raise ValueError(f'the image of camera {camera} at {image_stamp} ns is missing')
        return observation_from_message(message, {key[0]: image_data(images[key]) for key in keys})

    last = max(observations)
    steps = []
    for message in own:
        stamp = stamp_of(message.header.stamp)
        if stamp not in observations:
            raise ValueError(f'the observation of step {message.step} at {stamp} ns is missing')
        action = action_from_message(message)
        if stamp < last or action.terminate:
            steps.append(Step(observation_at(stamp), action))
    return Episode(info, tuple(steps), observation_at(last))


def _without_blind_end(observations: dict[int, bytes], images: dict[tuple[str, int], bytes]) -> dict[int, bytes]:
    """Return the observations without those at the end whose images a crash or a stop cut off."""

    def sees(cdr: bytes) -> bool:
        return all(key in images for key in _images_of(deserialize(cdr, OBSERVATION)))

    seeing = max((stamp for stamp, cdr in observations.items() if sees(cdr)), default=max(observations))
    return {stamp: cdr for stamp, cdr in observations.items() if stamp <= seeing}


def _images_of(message: Message) -> list[tuple[str, int]]:
    """Return camera and stamp, ns, of the images an observation pairs."""
    return list(zip(message.cameras, map(stamp_of, message.image_stamps), strict=True))


def _seen(cdr: bytes, images: dict[tuple[str, int], bytes]) -> Observation | None:
    """Return an observation from its serialised message, None where one of its images is not among some."""
    message = deserialize(cdr, OBSERVATION)
    keys = _images_of(message)
    if not all(key in images for key in keys):
        return None
    return observation_from_message(message, {key[0]: image_data(images[key]) for key in keys})
