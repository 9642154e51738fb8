"""The latch of the emergency stop: once engaged, nothing is sent to the arm until somebody resets it.

It is a file, so that neither a restarted node nor a power failure releases it. It does not replace the hardware's
emergency stop: it needs a living arm controller, a network and an arm that listens.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mtopt_core.whole_file import write_whole


class EmergencyStop:
    """A latch.

    Args:
        path: Its file; it is engaged while the file is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reason = ''
        if path.exists():
            # Whoever cannot read why it was stopped must not take it for released.
            with suppress(OSError, UnicodeDecodeError):
                self._reason = path.read_text().strip()
            self._reason = self._reason or 'engaged before this node was started'

    @property
    def reason(self) -> str:
        """Why it is engaged; empty while it is not."""
        return self._reason

    def engage(self, reason: str) -> None:
        """Engage it, at once in this process and then on the disk.

        Raises:
            OSError: The disk refuses the file: engaged, but only until this process ends.
        """
        if not self._reason:
            self._reason = reason
            write_whole(self._path, reason + '\n')

    def release(self) -> None:
        """Release it.

        Raises:
            OSError: The file cannot be removed; it stays engaged.
        """
        self._path.unlink(missing_ok=True)
        self._reason = ''
