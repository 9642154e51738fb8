"""The page Robots: what every robot does, what is wrong, who needs a person, how the data grow."""

from __future__ import annotations

from nicegui.element import Element

from mtopt_web.page import Page, Visit


class RobotBoard(Element, component='static/robot_board.js'):
    """The robots, as an element of a page; what it does in the browser is in its script."""


async def _build(_visit: Visit) -> None:
    RobotBoard()


PAGE = Page('Robots', '/robots', 5, _build)
