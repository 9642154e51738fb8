"""`mtopt transfer`: bring finished bags from robots to the trainer's machine, and weights back."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from mtopt_core.carriers import carrier_to
from mtopt_core.errors import MtoptError
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar
from mtopt_core.transfer import Receiver, Sender

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, rich_markup_mode='markdown')

Follow = Annotated[
    bool, typer.Option(help='Go on until Ctrl-C; what fails, a link that is down for instance, is tried again.')
]
Period = Annotated[float, typer.Option(min=0.1, help='s between two rounds.')]
Models = Annotated[Path | None, typer.Option(help='Folder of `policy` and `success_detector`. DATA/models by default.')]


@app.callback()
def _transfer() -> None:
    """Bring finished bags from robots to the trainer's machine, and weights back.

    On the trainer's machine: `mtopt transfer receive --data data --mailbox /srv/mailbox --follow`

    On each robot's: `mtopt transfer send --data data --to trainer:/srv/mailbox --follow`
    """


@app.command()
def send(
    data: Annotated[Path, typer.Option(help="The robot's data folder.", exists=True, file_okay=False)],
    to: Annotated[str, typer.Option(help='Mailbox: a shared folder, or for rsync HOST:FOLDER or rsync://HOST/MODULE.')],
    models: Models = None,
    follow: Follow = False,
    period: Period = 2.0,
    free_after: Annotated[
        float, typer.Option(min=-1.0, help='Hours after which an acknowledged bag is deleted here; -1: never.')
    ] = -1.0,
) -> None:
    """Send bags that the trainer's machine has not acknowledged yet, and fetch the newest weights.

    A bag stays here until it is acknowledged: received, checked by SHA-256 and synced to the disk there.
    """
    sender = Sender(DataFolder(data), carrier_to(to))

    def free() -> int:
        return sender.free(free_after * 3600) if free_after >= 0 else 0

    def once() -> tuple[str, bool]:
        # First too, for it may make the room that the rest needs.
        freed = free()
        with progress_bar('sending') as report:
            sent = sender.round(report)
        fetched = sender.fetch_models(models or data / 'models')
        freed += free()
        told = f'{sent.acknowledged} of {sent.bags} bags acknowledged'
        for text, number in (('sent', sent.pushed), ('wait for their grading', sent.waiting), ('deleted here', freed)):
            told += f', {number} {text}' if number else ''
        return told + ''.join(f', {path.parent.name} {path.name} fetched' for path in fetched), sent.left > 0

    try:
        _repeat(once, follow, period)
    finally:
        sender.close()


@app.command()
def receive(
    data: Annotated[Path, typer.Option(help="The trainer's data folder.", file_okay=False)],
    mailbox: Annotated[Path, typer.Option(help='Folder that the robots send to; made when missing.', file_okay=False)],
    models: Models = None,
    follow: Follow = False,
    period: Period = 2.0,
) -> None:
    """Take in bags that have arrived whole, acknowledge them, and offer the newest weights."""
    receiver = Receiver(DataFolder(data), mailbox)

    def once() -> tuple[str, bool]:
        received = receiver.round()
        offered = receiver.offer_models(models or data / 'models')
        told = f'{received.taken} bags taken in' if received.taken or not follow else ''
        if received.damaged:
            told += f'; {received.damaged} damaged files, to be sent again'
        return told + ''.join(f'; {path.parent.name} {path.name} offered' for path in offered), False

    try:
        _repeat(once, follow, period)
    finally:
        receiver.close()


def _repeat(once: Callable[[], tuple[str, bool]], follow: bool, period: float) -> None:
    """Do rounds while there is something left, or without end, telling what is new; SIGTERM ends it as Ctrl-C does."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    told = ''
    try:
        while True:
            try:
                now, more = once()
            except (MtoptError, OSError) as error:
                if not follow:
                    raise
                now, more = f'{error}; trying again', False
            if now and now != told:
                print(f'{time.strftime("%H:%M:%S")} {now.removeprefix("; ")}', flush=True)
            told = now
            if not (follow or more):
                return
            if not more:
                time.sleep(period)
    except KeyboardInterrupt:
        if not follow:
            raise MtoptError('stopped; what was not acknowledged is sent again next time') from None
