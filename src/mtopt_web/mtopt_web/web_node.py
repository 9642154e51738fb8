"""`mtopt web`: the page on which people watch the robots, show, label and review."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar
from mtopt_core.tasks import load_tasks


def web(
    data: Annotated[
        Path, typer.Option(help='Data folder; its bags lie in `bags`. Made when missing.', file_okay=False)
    ],
    port: Annotated[int, typer.Option(help='TCP port on this machine; 0 takes a free one.', min=0, max=65535)] = 8765,
    tasks_file: Annotated[str, typer.Option(help='The task set; config/tasks.yaml by default.')] = '',
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="Folder of the detector's checkpoints. DATA/models/success_detector by default."),
    ] = None,
) -> None:
    """Serve the page on which people watch the robots, show, label and review; prints the link to open.

    It is reached from this machine only, and with the key in the link. From another one, through ssh:
    `ssh -L 8765:127.0.0.1:8765 MACHINE`, then open the same link there. Ctrl-C ends it.
    """
    from mtopt_web.listening_node import listening
    from mtopt_web.page import load_pages
    from mtopt_web.server import serve
    from mtopt_web.site import Site

    logging.getLogger('nicegui').setLevel(logging.WARNING)
    tasks = load_tasks(tasks_file)
    folder = DataFolder(data)
    folder.bags.mkdir(parents=True, exist_ok=True)
    with progress_bar('Reading new bags') as report:
        site = Site(folder, tasks, checkpoints or data / 'models' / 'success_detector', report)
    try:
        pages = load_pages()
        site.start()
        with listening(site):
            serve(site, pages, port, lambda link: print(f'Open {link}', flush=True))
    finally:
        site.close()
