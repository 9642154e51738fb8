"""Where the shipped files and the user's data lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mtopt_core.errors import ConfigurationError

SHIPPED_ENVIRONMENT_VARIABLE = 'MTOPT_SHIPPED'


def shipped(*parts: str) -> Path:
    """Return a file or folder of the repository's `config/`, `models/` or `worlds/`.

    Looks in `$MTOPT_SHIPPED`, then in the source tree, then in the installed package's share folder.

    Raises:
        ConfigurationError: Nothing of that name was shipped.
    """
    roots = []
    if os.environ.get(SHIPPED_ENVIRONMENT_VARIABLE):
        roots.append(Path(os.environ[SHIPPED_ENVIRONMENT_VARIABLE]))
    roots += [parent for parent in Path(__file__).resolve().parents if (parent / 'config' / 'tasks.yaml').exists()]
    roots += [
        Path(prefix) / 'share' / 'mtopt_core'
        for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
        if prefix
    ]
    for root in roots:
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise ConfigurationError(
        f'{Path(*parts)} was not found in {", ".join(map(str, roots)) or "any known place"}; '
        f'set {SHIPPED_ENVIRONMENT_VARIABLE} to a checkout of mtopt'
    )


@dataclass(frozen=True)
class DataFolder:
    """The layout of a folder of collected data: bags, what was set aside, labels and the catalogue.

    Attributes:
        root: The folder itself, made when missing by those who write.
    """

    root: Path

    @property
    def bags(self) -> Path:
        """One rosbag2 directory per episode, named by its id."""
        return self.root / 'bags'

    @property
    def set_aside(self) -> Path:
        """Bags that could not be read, each with a `reason.txt`."""
        return self.root / 'set_aside'

    @property
    def diverged(self) -> Path:
        """Which simulated episodes have no bag because the simulator's physics diverged at every try."""
        return self.root / 'diverged.txt'

    @property
    def labels(self) -> Path:
        """The label store (SQLite), rebuildable for humans' labels from the journal."""
        return self.root / 'labels.sqlite'

    @property
    def journal(self) -> Path:
        """Human labels, appended and synced before they are stored."""
        return self.root / 'labels.journal.jsonl'

    @property
    def renamed_tasks(self) -> Path:
        """Tasks that were renamed, in that order: what the journal and old bags call by another name."""
        return self.root / 'renamed_tasks.jsonl'

    @property
    def catalogue(self) -> Path:
        """Index of the bags (SQLite), rebuildable from them."""
        return self.root / 'catalogue.sqlite'
