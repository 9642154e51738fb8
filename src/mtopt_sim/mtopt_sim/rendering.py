"""Renderers of the cell's model: plain and fast for robots, smooth for people."""

from __future__ import annotations

import mujoco

SMOOTHING_SAMPLES = 4


def new_renderer(model: mujoco.MjModel, size: int, smooth: bool) -> mujoco.Renderer:
    """Return a renderer of square pictures.

    Args:
        model: The cell's; its settings are as before when this returns, so that other renderers are what they were.
        size: Side of the pictures, px.
        smooth: Whether edges are smoothed, which takes twice the time.
    """
    quality, buffer = model.vis.quality, model.vis.global_
    before = quality.offsamples, buffer.offwidth, buffer.offheight
    if smooth:
        quality.offsamples = SMOOTHING_SAMPLES
    buffer.offwidth = buffer.offheight = size
    try:
        return mujoco.Renderer(model, size, size)
    finally:
        quality.offsamples, buffer.offwidth, buffer.offheight = before
