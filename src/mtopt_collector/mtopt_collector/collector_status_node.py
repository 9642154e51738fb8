"""What the collector publishes of its collection."""

from __future__ import annotations

from mtopt_collector.collection import Collection
from mtopt_collector.practice import TaskPractice
from mtopt_msgs import msg


def status_of(collection: Collection) -> msg.CollectorStatus:
    """Return how far a collection is and what it draws from; state, task and message are the node's to add."""
    return msg.CollectorStatus(
        episodes=collection.episodes,
        successes=collection.successes,
        policy=collection.drawn.policy,
        exploration=collection.drawn.exploration,
        practice=[practice_to_message(one) for one in collection.practice()],
    )


def practice_to_message(practice: TaskPractice) -> msg.TaskPractice:
    """Return how a task is practised."""
    record = practice.record
    low, high = record.difference
    return msg.TaskPractice(
        task=practice.task,
        chance=practice.chance,
        at_parity=practice.at_parity,
        sources=', '.join(f'{policy} {share:.2f}' for policy, share in practice.shares.items()),
        attempts=record.attempts,
        learned=record.learned[0],
        learned_successes=record.learned[1],
        others=record.others[0],
        other_successes=record.others[1],
        difference_low=low,
        difference_high=high,
    )
