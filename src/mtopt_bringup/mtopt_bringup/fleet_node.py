"""`mtopt fleet`: several robots, one detector and one policy server for all of them, and a trainer."""

from __future__ import annotations

from typing import Annotated

import typer

from mtopt_bringup import graph_command_options as option
from mtopt_bringup.graph import GraphOptions, Simulator
from mtopt_bringup.run_node import run_graph
from mtopt_core.cadence import by_policy, by_robot


def fleet(
    data: option.Data,
    robots: option.Robots = 2,
    cells: Annotated[
        str,
        typer.Option(
            help="Files of single robots in place of --robots, for instance 'config/cells/*.yaml'. What a robot's file "
            'says of it counts, the other options are for all that it does not say.'
        ),
    ] = '',
    sim: option.Sim = Simulator.MUJOCO,
    episodes: option.Episodes = -1,
    policy: option.Policy = 'curriculum',
    curriculum: Annotated[str, typer.Option(help='Who practises what; config/curriculum.yaml by default.')] = '',
    trainer: Annotated[bool, typer.Option(help='Train on what is collected, and act by what was learned.')] = True,
    shared: Annotated[bool, typer.Option(help='One policy and one detector node serve all robots.')] = True,
    models: option.Models = None,
    grade_with: option.GradeWith = 'detector',
    seed: option.Seed = -1,
    image_size: option.ImageSize = 128,
    new_scenes: option.NewScenes = None,
    spares: option.Spares = False,
    help_command: option.HelpCommand = '',
    cell_file: option.CellFile = '',
    tasks_file: option.TasksFile = '',
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
        new_scenes=new_scenes or '',
        spares=spares,
        help_command=help_command,
        cell_file=cell_file,
        tasks_file=tasks_file,
    )
    run_graph(options, (by_robot, by_policy))
