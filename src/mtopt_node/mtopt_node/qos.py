"""The qualities of service mtopt uses: everything reliable, only the depth and the durability differ."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _reliable(depth: int, durability: DurabilityPolicy = DurabilityPolicy.VOLATILE) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.RELIABLE, durability=durability
    )


# Best effort loses images that do not fit one shared-memory segment, so images are reliable too.
IMAGES = _reliable(5)
COMMANDS = _reliable(10)
EVENTS = _reliable(50)
# Actions and steps: who records or waits for them must get them, even where it was found late. The arm controller asks
# for no action of before.
KEPT_COMMANDS = _reliable(10, DurabilityPolicy.TRANSIENT_LOCAL)
# The observation and its images: a lock-step simulator shows the cell once, and a node that joins late must see it.
OBSERVATIONS = _reliable(5, DurabilityPolicy.TRANSIENT_LOCAL)
# What must outlive its publisher, and what a late subscriber needs once.
LATCHED = _reliable(1, DurabilityPolicy.TRANSIENT_LOCAL)
# Recorders listen to everything and must not lose what arrives while they write.
RECORDING = _reliable(200)
RECORDING_KEPT = _reliable(200, DurabilityPolicy.TRANSIENT_LOCAL)
