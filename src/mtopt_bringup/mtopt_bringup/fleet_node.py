"""`mtopt fleet`: several robots, one detector and one policy server for all of them, and a trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mtopt_bringup.cells import PolicyName
from mtopt_bringup.graph import GraphOptions, Simulator
from mtopt_bringup.run_node import run_graph
from mtopt_core.cadence import by_policy, by_robot


def fleet(
    data: Annotated[Path, typer.Option(help='Data folder: bags, labels, catalogue, cadence, models.')],
    robots: Annotated[int, typer.Option(min=1, max=100, help='Number of robots, robot1 to robotN.')] = 2,
    cells: Annotated[
        str,
        typer.Option(help="Files of single robots in place of --robots, for instance 'config/cells/*.yaml'."),
    ] = '',
    sim: Annotated[
        Simulator, typer.Option(help='What stands in for a robot whose file does not say; none: a real one.')
    ] = Simulator.MUJOCO,
    episodes: Annotated[int, typer.Option(min=-1, help='For each robot; -1: until Ctrl-C, 0: on request.')] = -1,
    policy: Annotated[
        PolicyName,
        typer.Option(help='Who decides; curriculum: by the rules of --curriculum, task by task.'),
    ] = 'curriculum',
    curriculum: Annotated[str, typer.Option(help='Who practises what; config/curriculum.yaml by default.')] = '',
    trainer: Annotated[bool, typer.Option(help='Train on what is collected, and act by what was learned.')] = True,
    shared: Annotated[bool, typer.Option(help='One policy and one detector node serve all robots.')] = True,
    models: Annotated[Path | None, typer.Option(help='Folder of checkpoints. DATA/models by default.')] = None,
    grade_with: Annotated[
        Literal['detector', 'simulator', 'none'],
        typer.Option(
            help='Who grades the final images. The detector is the newest of success_detector in --models; without one '
            'nothing is graded, and only from what people label is anything learned.'
        ),
    ] = 'detector',
    seed: Annotated[int, typer.Option(min=-1, help='Of tasks, scenes and policies; -1 draws one.')] = -1,
    image_size: Annotated[int, typer.Option(min=16, help="Side of the simulated cameras' images, px.")] = 128,
    tasks_file: Annotated[str, typer.Option(help='The task set; config/tasks.yaml by default.')] = '',
) -> None:
    """Run several robots that practise different tasks at once, and learn from what they do.

    Every node is a process of its own, every robot has a namespace of its own and draws its own tasks. New episodes
    reach the trainer within seconds, new policies the robots between two episodes. `mtopt web --data DATA` shows it.
    Ctrl-C ends the running episodes and stops all nodes in order.

    A new data folder has no detector. Copy one there first (models/success_detector of this repository knows the
    simulated cell) or have simulated robots graded by the truth:

    mkdir -p data/models && cp -r models/success_detector data/models/

    mtopt fleet --data data --robots 3

    mtopt fleet --data data --robots 3 --grade-with simulator

    mtopt fleet --data data --cells 'config/cells/*.yaml'
    """
    options = GraphOptions(
        simulator=sim,
        data=data,
        models='' if models is None else str(models),
        robots=robots,
        cells=cells,
        shared=shared,
        trainer=trainer,
        policy=policy,
        curriculum=curriculum,
        episodes=episodes,
        grade_with=grade_with,
        seed=seed,
        image_size=image_size,
        tasks_file=tasks_file,
    )
    run_graph(options, (by_robot, by_policy))
