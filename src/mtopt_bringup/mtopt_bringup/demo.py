"""`mtopt demo`: the whole loop in simulation, by the commands a user would type, one after the other."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mtopt_bringup.bootstrap import AIM
from mtopt_bringup.report import write_report
from mtopt_bringup.stages import Stage, State, carry_out
from mtopt_core.cadence import read_cadence
from mtopt_core.checkpoint import newest_checkpoint
from mtopt_core.environment import free_domain
from mtopt_core.errors import ConfigurationError
from mtopt_core.paths import DataFolder, shipped
from mtopt_core.tasks import load_tasks
from mtopt_sim.simulators import SimulatorName


@dataclass(frozen=True)
class Budget:
    """How much of everything one round does.

    Attributes:
        collected: Scripted episodes through the graph.
        simulated: Scripted episodes by `mtopt simulate`.
        detector_steps: Gradient steps of the success detector.
        policy_steps: Gradient steps of the policy.
        learned: Episodes of the learned policy through the graph.
        evaluated: Episodes per task and policy in the evaluation.
        outcomes: Whose outcomes the policy learns from.
    """

    collected: int
    simulated: int
    detector_steps: int
    policy_steps: int
    learned: int
    evaluated: int
    outcomes: str


FULL = Budget(
    collected=100, simulated=2000, detector_steps=600, policy_steps=1000, learned=50, evaluated=25, outcomes='detector'
)
# So short a training makes a detector that sees no success, without which there is nothing to learn.
QUICK = Budget(
    collected=6, simulated=120, detector_steps=40, policy_steps=40, learned=3, evaluated=2, outcomes='simulator'
)


def demo(
    out: Annotated[Path, typer.Option(help='Folder of data, models and report.')] = Path('out/demo'),
    quick: Annotated[bool, typer.Option('--quick', help='Every stage, but so short that nothing is learned.')] = False,
    collected: Annotated[int | None, typer.Option(min=1, help='Scripted episodes through the ROS graph.')] = None,
    simulated: Annotated[int | None, typer.Option(min=1, help='Scripted episodes by `mtopt simulate`.')] = None,
    detector_steps: Annotated[int | None, typer.Option(min=1, help='Gradient steps of the detector.')] = None,
    policy_steps: Annotated[int | None, typer.Option(min=1, help='Gradient steps of the policy.')] = None,
    learned: Annotated[int | None, typer.Option(min=1, help='Learned episodes through the ROS graph.')] = None,
    evaluated: Annotated[int | None, typer.Option(min=1, help='Evaluation episodes per task and policy.')] = None,
    workers: Annotated[int, typer.Option(min=0, help='Simulation processes; 0 takes one per core.')] = 0,
    sim: Annotated[
        SimulatorName, typer.Option(help='What the graph drives; bulk simulation and evaluation stay with MuJoCo.')
    ] = 'mujoco',
) -> None:
    """Watch the whole of mtopt work: collect, learn, act, report.

    A simulated 7-DoF arm collects episodes through real ROS 2, bulk simulation adds more, a success detector learns
    to grade them, a policy learns from what it graded, runs on the arm and is compared with the script that made the
    data. Every stage is a command of mtopt, printed before it runs. Ctrl-C stops; the next `mtopt demo` goes on from
    there, and once it is through, adds another round of data and training.
    """
    usual = QUICK if quick else FULL
    budget = Budget(
        collected=collected or usual.collected,
        simulated=simulated or usual.simulated,
        detector_steps=detector_steps or usual.detector_steps,
        policy_steps=policy_steps or usual.policy_steps,
        learned=learned or usual.learned,
        evaluated=evaluated or usual.evaluated,
        outcomes=usual.outcomes,
    )
    console = Console()
    # Another graph on this machine must not hear this one.
    os.environ.setdefault('ROS_DOMAIN_ID', str(free_domain()))
    state_path = out / 'state.json'
    state = State.load(state_path)
    started = time.monotonic()
    again = f'mtopt demo --out {out}' + ('' if sim == 'mujoco' else f' --sim {sim}')
    carry_out(stages_of(out, state.round, budget, workers, sim), state, state_path, again, console)
    report = out / 'report.html'
    write_report(DataFolder(out), report, load_tasks(), state.stages)
    State(round=state.round + 1).save(state_path)
    console.rule(align='left')
    console.print(f'{time.monotonic() - started:.0f} s; the report is [bold]{report}[/]')


def stages_of(out: Path, round_number: int, budget: Budget, workers: int, sim: SimulatorName = 'mujoco') -> list[Stage]:
    """Return a round's stages.

    Args:
        out: The demo's data folder.
        round_number: From 1.
        budget: Of one round.
        workers: Simulation processes; 0 for one per core.
        sim: What the graph drives.
    """
    data = DataFolder(out)
    detectors, policies = out / 'models' / 'success_detector', out / 'models' / 'policy'

    def through_graph(policy: str, wanted: int) -> list[str] | None:
        left = wanted * round_number - sum(episode.policy == policy for episode in read_cadence(data))
        grade_with = 'detector' if newest_checkpoint(detectors) else 'simulator'
        options = ['--episodes', str(left), '--policy', policy, '--grade-with', grade_with]
        return ['run', '--data', str(out), '--sim', sim, *options] if left > 0 else None

    def simulate() -> list[str]:
        options = ['--episodes', str(budget.simulated), '--seed', str(round_number), '--aim', str(AIM)]
        known = _newest('policy', policies)
        # A policy learns most from its own mistakes.
        by = [] if known is None else ['--policy', 'mixture', '--checkpoint', str(known), '--exploration', '0.1']
        return ['simulate', '--out', str(out), '--workers', str(workers), *options, *by]

    def train_detector() -> list[str]:
        known = _newest('success_detector', detectors)
        options = ['--labels', 'simulator', '--steps', str(budget.detector_steps)]
        start = [] if known is None else ['--from', str(known)]
        return ['detector', 'train', '--bags', str(out), '--out', str(detectors), *options, *start]

    def grade() -> list[str]:
        return ['relabel', '--bags', str(out), '--detector', str(detectors)]

    def train_policy() -> list[str]:
        known = _newest('policy', policies)
        options = ['--steps', str(budget.policy_steps * round_number), '--outcomes', budget.outcomes]
        # A training in the demo's folder goes on by itself.
        start = [] if known is None or known.parent == policies else ['--from', str(known)]
        return ['train', '--bags', str(out), '--out', str(policies.parent), *options, *start]

    def evaluate() -> list[str]:
        result = out / 'evaluations' / f'round-{round_number:03}.json'
        options = ['--policy', 'scripted', '--policy', 'learned', '--workers', str(workers), '--json', str(result)]
        return ['evaluate', '--checkpoint', str(policies), '--episodes', str(budget.evaluated), *options]

    return [
        Stage('collect', 'Collect scripted episodes through ROS', lambda: through_graph('scripted', budget.collected)),
        Stage(
            'simulate',
            'Simulate more without ROS, by a script told where the objects are, and what was learned',
            simulate,
        ),
        Stage('detector', "Train the success detector; the simulator's truth stands in for labellers", train_detector),
        Stage('grade', 'Let it grade every episode for every task', grade),
        Stage('policy', 'Train the policy on the graded episodes', train_policy),
        Stage('act', 'Run the learned policy through ROS', lambda: through_graph('learned', budget.learned)),
        Stage('evaluate', 'Compare it with the script on the same seeds', evaluate),
    ]


def _newest(name: str, trained: Path) -> Path | None:
    """Return the newest checkpoint in a folder, else the one shipped under a name, else none."""
    newest = newest_checkpoint(trained)
    if newest is not None:
        return newest
    try:
        return newest_checkpoint(shipped('models', name))
    except ConfigurationError:
        return None
