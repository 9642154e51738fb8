"""A node in waiting: `python -m mtopt_node.spare MODULE ARGUMENTS...` imports a node's module and waits to be needed.

Importing torch takes seconds, on a busy machine many; a spare that has done so takes a dead node's place at once. It
becomes the node when it gets a line on its standard input, and ends when that is closed.
"""

from __future__ import annotations

import sys
from importlib import import_module


def main() -> None:
    """Import, wait, run the node's `main`."""
    name = sys.argv[1]
    module = import_module(name)
    if not sys.stdin.readline():
        return
    sys.argv = [name, *sys.argv[2:]]
    sys.exit(module.main())


if __name__ == '__main__':
    main()
