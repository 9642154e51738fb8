"""Look after the outcomes of a folder's episodes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer

from mtopt_core.catalogue import Catalogue
from mtopt_core.episode import Outcome
from mtopt_core.episode_bag import episode_ids, read_outcomes
from mtopt_core.errors import BagError
from mtopt_core.label_import import import_labels
from mtopt_core.label_rebuild import rebuild as rebuild_labels
from mtopt_core.label_store import HUMAN, LabelStore
from mtopt_core.paths import DataFolder
from mtopt_core.progress import progress_bar
from mtopt_core.tasks import load_tasks

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, rich_markup_mode='markdown')


Folder = Annotated[Path, typer.Argument(help='Data folder; its bags lie in `bags`.', exists=True, file_okay=False)]


@app.command('import', epilog='Example: `mtopt labels import data labels.csv --who Ada`')
def import_file(
    folder: Folder,
    file: Annotated[Path, typer.Argument(help='CSV or JSON of episode_id, task, verdict, and perhaps who.')],
    who: Annotated[str, typer.Option(help='Who gave the labels that do not say.')] = '',
    tasks_file: Annotated[str, typer.Option(help='The task set; config/tasks.yaml by default.')] = '',
) -> None:
    """Take people's labels in from a file: all of them, or none when one is wrong.

    A verdict is success, failure or unsure. A label that says something else than the one before replaces it.
    """
    data, tasks = DataFolder(folder), load_tasks(tasks_file)
    catalogue = Catalogue(data)
    with progress_bar('Reading new bags') as report:
        catalogue.refresh(report)
    store = LabelStore(data)
    try:
        done = import_labels(file, store, tasks.names, {row.episode_id for row in catalogue.episodes()}, who)
    finally:
        store.close()
    print(f'{done.stored} labels stored, {done.replaced} of them in place of another; {done.known} were known already')


@app.command(epilog='Example: `mtopt labels rebuild data`, when the label store is damaged or was deleted')
def rebuild(folder: Folder) -> None:
    """Restore human labels from their journal and other outcomes from the bags that recorded them.

    What a detector graded after recording is not in the bags: grade those episodes again.
    """
    data = DataFolder(folder)
    restored = rebuild_labels(data)
    print(f'{restored.labels} gradings by people restored from {data.journal}; {restored.torn} torn lines passed over')
    recorded: dict[tuple[str, str], dict[str, list[Outcome]]] = defaultdict(dict)
    ids = episode_ids(data.bags)
    with progress_bar('Reading bags') as report:
        for number, episode_id in enumerate(ids, 1):
            try:
                gradings = read_outcomes(data.bags / episode_id)
            except BagError as error:
                print(f'{error}')
                continue
            for grading in gradings:
                if grading.source != HUMAN:
                    recorded[grading.source, grading.model_version][grading.episode_id] = grading.outcomes
            report(number, len(ids))
    store = LabelStore(data)
    for (source, model_version), outcomes in recorded.items():
        store.add_many(source, model_version, outcomes)
        print(f'{len(outcomes)} gradings by {source} {model_version} restored from bags')
    store.apply_renames()
    store.close()
