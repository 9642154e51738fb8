"""Where Gazebo 11 lies: in a Debian 11 tree of its own, made by `make gazebo-root`, or on this machine itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mtopt_sim.errors import SimulationError

ROOT_ENVIRONMENT_VARIABLE = 'MTOPT_GAZEBO_ROOT'
MESSAGES = Path('opt/mtopt')
"""In the tree: the descriptor sets of both protocols' messages, and the stamp that says the tree is whole."""


def cache_folder() -> Path:
    """Return the folder for what can be made again: `$XDG_CACHE_HOME/mtopt`, else `~/.cache/mtopt`."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mtopt'


@dataclass(frozen=True)
class Installation:
    """Gazebo 11 and the definitions of its messages.

    Attributes:
        root: Of the file system it is installed in.
        messages: Folder of the definitions, as descriptor sets.
    """

    root: Path
    messages: Path

    @property
    def classic_messages(self) -> Path:
        """Descriptor set of Gazebo's own messages."""
        return self.messages / 'gazebo.desc'

    @property
    def ignition_messages(self) -> Path:
        """Descriptor set of ign-transport's messages."""
        return self.messages / 'ignition.desc'

    @property
    def stamp(self) -> Path:
        """File that names the recipe it was prepared by; written last."""
        return self.messages / 'recipe'


def installation_in(root: Path) -> Installation:
    """Return the installation in a Debian 11 tree of its own."""
    return Installation(root, root / MESSAGES)


def host_installation() -> Installation:
    """Return the installation of this machine; its definitions are in the cache folder."""
    return Installation(Path('/'), cache_folder() / 'gazebo-11-messages')


def find_installation() -> Installation:
    """Return the tree in `$MTOPT_GAZEBO_ROOT`, else the one in the cache folder, else this machine's own Gazebo.

    Raises:
        SimulationError: There is none, or it is not whole.
    """
    given = os.environ.get(ROOT_ENVIRONMENT_VARIABLE)
    tree = installation_in(Path(given) if given else cache_folder() / 'gazebo-11')
    found = next((one for one in (tree, host_installation()) if one.stamp.exists()), None)
    if found is None or (given and found is not tree):
        raise SimulationError(
            f'there is no Gazebo 11 in {tree.root}; `make gazebo-root` prepares it (root, 1 GB, some minutes), or set '
            f'{ROOT_ENVIRONMENT_VARIABLE} to one prepared elsewhere'
        )
    return found
