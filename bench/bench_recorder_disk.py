"""How many megabytes per second does the recorder sustain, beside what the disk itself takes?

In turn, on the same disk: `dd` that writes as much and syncs once at its end (`conv=fdatasync`), `dd` that syncs every
chunk or as much as a bag (`oflag=dsync`), and the recorder's own writer, thread, chunks, checksums and all, which syncs
every bag when it is complete. Messages are camera JPEGs of 472 px.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from bench_recorder import pictures
from measuring import alternate, load, median_ratio
from rich.console import Console
from rich.table import Table

from mtopt_collector.recording import EpisodeWriter, RawMessage
from mtopt_core.bag import BagWriter
from mtopt_core.configuration import RecordingConfiguration
from mtopt_core.message_types import COMPRESSED_IMAGE, serialize
from mtopt_core.messages import image_to_message

MEGABYTE = 1_000_000
PICTURES = 10
CHUNK = RecordingConfiguration().chunk_size


class Disk:
    """A folder that is written to.

    Args:
        folder: On the disk to measure.
        megabytes: To write each time.
        bag_megabytes: Size of a bag.
    """

    def __init__(self, folder: Path, megabytes: int, bag_megabytes: float) -> None:
        self._folder = folder
        self._size = megabytes * MEGABYTE
        self._bag_size = bag_megabytes * MEGABYTE
        jpegs = [serialize(image_to_message('main', 10**9, jpeg)) for jpeg in pictures(PICTURES)]
        self._messages = [RawMessage('/robot1/cameras/main/compressed', COMPRESSED_IMAGE, 10**9, cdr) for cdr in jpegs]
        self.dropped = 0
        (folder / 'noise').write_bytes(np.random.default_rng(0).bytes(self._size))

    def dd(self, option: str, block: int) -> Callable[[], None]:
        """Return a run of `dd` with an option that syncs."""
        source, target = self._folder / 'noise', self._folder / 'written'
        command = ['dd', f'if={source}', f'of={target}', f'bs={block}', option, 'status=none']

        def run() -> None:
            subprocess.run(command, check=True)

        return run

    def record(self) -> None:
        """Write bags until as much is written, one after the other, and throw them away."""
        bags, written, number = self._folder / 'bags', 0.0, 0
        while written < self._size:
            writer = EpisodeWriter(lambda number=number: BagWriter(bags, f'e{number}', CHUNK), 10**9)  # type: ignore[misc]
            end = min(written + self._bag_size, self._size)
            while written < end:
                message = self._messages[int(written) % PICTURES]
                writer.put(message)
                written += len(message.cdr)
            result = writer.finish().result()
            if result.error is not None:
                raise result.error
            self.dropped += result.dropped
            number += 1
        shutil.rmtree(bags)


def main(
    folder: Annotated[Path, typer.Option(help='On the disk to measure.')] = Path('out'),
    megabytes: Annotated[int, typer.Option(help='To write each time.')] = 200,
    bag_megabytes: Annotated[float, typer.Option(help='Size of a bag; an episode of 20 steps has some 3.')] = 20.0,
    rounds: Annotated[int, typer.Option(help='Times each is measured.')] = 5,
) -> None:
    """Write in turn and print the speeds."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        disk = Disk(Path(scratch), megabytes, bag_megabytes)
        contenders = {
            f'recorder, synced every {bag_megabytes:g} MB': disk.record,
            'dd oflag=dsync, synced every chunk': disk.dd('oflag=dsync', CHUNK),
            f'dd oflag=dsync, every {bag_megabytes:g} MB': disk.dd('oflag=dsync', round(bag_megabytes * MEGABYTE)),
            'dd conv=fdatasync, synced once': disk.dd('conv=fdatasync', CHUNK),
        }
        seconds = alternate(contenders, rounds, 'writing')
    table = Table('', title=f'{megabytes} MB, {rounds} rounds')
    for heading in ('MB/s, median', 'slowest', 'fastest', 'of dd synced once'):
        table.add_column(heading, justify='right')
    *_, reference = seconds.values()
    for name, measured in seconds.items():
        speeds = [megabytes / one for one in measured]
        ratio = median_ratio(reference, measured)
        figures = (statistics.median(speeds), min(speeds), max(speeds))
        table.add_row(name, *(f'{figure:,.0f}' for figure in figures), f'{ratio:.2f}')
    console = Console()
    console.print(table)
    console.print(f'messages lost {disk.dropped} (limit 0)')
    console.print(load())
    if disk.dropped:
        raise SystemExit(1)


if __name__ == '__main__':
    typer.run(main)
