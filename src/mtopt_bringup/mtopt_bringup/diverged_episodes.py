"""Episodes that could not be simulated, noted in the data folder: who goes on there does not try them for ever."""

from __future__ import annotations

from mtopt_core.paths import DataFolder


def note_diverged(data: DataFolder, episode_id: str, problem: str) -> None:
    """Add a line about an episode to the folder's `diverged.txt`: its id, a tab, and what happened.

    Raises:
        OSError: It cannot be written.
    """
    data.root.mkdir(parents=True, exist_ok=True)
    # Several workers write here; a short line in one call is not torn.
    with data.diverged.open('a') as file:
        file.write(f'{episode_id}\t{problem}\n')


def diverged_episodes(data: DataFolder) -> set[str]:
    """Return the ids of the episodes noted, none where there is no note."""
    if not data.diverged.exists():
        return set()
    return {line.partition('\t')[0] for line in data.diverged.read_text().splitlines()}
