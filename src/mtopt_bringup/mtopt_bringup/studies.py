"""The paper's comparisons as data: what is trained, what is measured, and what the paper found.

A `Run` is one way to train a policy on a dataset; several studies may share it. A `Study` compares runs on some tasks.
Paper figures come from sections VII-B to VII-F, Tables I and II, and Fig. 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from mtopt_bringup.bootstrap import Setting
from mtopt_core.errors import ConfigurationError
from mtopt_core.tasks import TASKS_FILE, TaskSet

RARE = 'lift-sausage'
"""The rare lift of the paper's section VII-E."""

BROAD = ('lift-any', 'place-any')

NEW = ('lift-cloth', 'cover-object')
WITH_NEW = 'tasks_with_cloth.yaml'
"""The new tasks of the paper's section VII-F, and the task file that adds them to the others."""

UNIFORM = ('--set', 'rebalancing.tasks=uniform', '--set', 'rebalancing.success_share=null')
"""No re-balancing: batches are as the data are."""

SHORT = 0.5
"""Share of the gradient steps that runs of indicative studies make."""


@dataclass(frozen=True)
class Run:
    """One way to train.

    Attributes:
        options: Of `mtopt train`, beside data, folder, steps and seed.
        learned: Tasks it learns, empty for all; only these are evaluated.
        share_of_steps: Of the gradient steps asked for.
        setting: Action space of its dataset and of its policy.
        tasks_file: All tasks its policy knows; with others than the usual ones its dataset is of those it learns alone.
        start: Run whose policy it starts from, of the same seed; empty for none.
        outcomes: Whose outcomes it learns from; the detector is one that is given, and grades the dataset first.
    """

    options: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()
    share_of_steps: float = 1.0
    setting: Setting = 'eased'
    tasks_file: str = TASKS_FILE
    start: str = ''
    outcomes: Literal['simulator', 'detector'] = 'simulator'

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of `mtopt train`, the tasks included, whose outcomes count apart."""
        setting = () if self.setting == 'eased' else ('--setting', self.setting)
        tasks_file = () if self.tasks_file == TASKS_FILE else ('--tasks-file', self.tasks_file)
        learned = ('--tasks', ','.join(self.learned)) if self.learned else ()
        return (*self.options, *setting, *tasks_file, *learned)


def _sharing(impersonation: str, *options: str) -> Run:
    return Run(('--impersonation', impersonation, *options))


def _variant(*settings: str) -> Run:
    return Run(tuple(part for setting in settings for part in ('--set', setting)), share_of_steps=SHORT)


def _alone(impersonation: str, *tasks: str) -> Run:
    return Run(('--impersonation', impersonation), tasks)


def _new(start: str = '') -> Run:
    return Run(learned=NEW, share_of_steps=SHORT, tasks_file=WITH_NEW, start=start)


MT_OPT = 'skill-rebalanced'

RUNS: Mapping[str, Run] = {
    'none-uniform': _sharing('none', *UNIFORM),
    'none-rebalanced': _sharing('none'),
    'all-uniform': _sharing('all', *UNIFORM),
    'all-rebalanced': _sharing('all'),
    'skill-uniform': _sharing('skill', *UNIFORM),
    MT_OPT: _sharing('skill'),
    'two-tasks': _alone('skill', *BROAD),
    'rare-alone': _alone('none', RARE),
    'rare-successes': _alone('successes', RARE),
    'rare-failures': _alone('skill', RARE),
    'new-fine-tuned': _new(MT_OPT),
    'new-alone': _new(),
    'short': Run(share_of_steps=SHORT),
    'detector-outcomes': Run(share_of_steps=SHORT, outcomes='detector'),
    **{f'balance-{share}': _variant(f'rebalancing.success_share={share / 100}') for share in (10, 25, 50, 75, 90)},
    'head-per-task': _variant('network.heads=per_task'),
    'main-view': _variant('network.views=[main]'),
    'wrist-view': _variant('network.views=[wrist]'),
    'full': Run(share_of_steps=SHORT, setting='full'),
    'full-main-view': replace(_variant('network.views=[main]'), setting='full'),
    'discount-90': _variant('targets.discount=0.9'),
    'monte-carlo': _variant('targets.monte_carlo=true'),
    'logged-action': _variant('targets.logged_action=true'),
    'hl-gauss': _variant('network.value_bins=51'),
    'task-embedding': _variant('network.task_embedding=32'),
    'three-step': _variant('targets.n_step=3'),
    'context-map': _variant('network.context_map=true'),
    'layer-norm': _variant('network.layer_norm=true'),
    'one-task-each': _variant('rebalancing.every_task=false'),
    'ends-as-they-come': _variant('rebalancing.terminal_share=null'),
}


@dataclass(frozen=True)
class Study:
    """A comparison.

    Attributes:
        title: What it asks.
        runs: Names in `RUNS`, in the order to show them; what the paper has of each, empty where it has nothing.
        tasks: Tasks that are compared; empty for all.
        tasks_file: All tasks there are.
        seeds: Of the datasets and the trainings.
        notes: What to know when reading it beside the paper.
    """

    title: str
    runs: Mapping[str, str]
    tasks: tuple[str, ...] = ()
    tasks_file: str = TASKS_FILE
    seeds: tuple[int, ...] = (0, 1, 2)
    notes: tuple[str, ...] = field(default=())

    @property
    def indicative(self) -> bool:
        """Whether it is one seed and fewer steps: a lead, no result."""
        return len(self.seeds) == 1


STUDIES: Mapping[str, Study] = {
    'sharing': Study(
        title='Do sharing episodes across tasks and re-balancing the batches help the tasks with little data?',
        runs={
            'none-uniform': '0.10 / 0.32 / 0.94, low-data 0.18 (verified)',
            'none-rebalanced': '0.16 / 0.55 / 0.85, low-data 0.42 (verified)',
            'all-uniform': 'below both others (text)',
            'all-rebalanced': 'below both others (text)',
            'skill-uniform': 'not found',
            MT_OPT: '0.29 / 0.58 / 0.89, low-data 0.50 (recalled)',
        },
        notes=('Paper: Table II, minimum / mean / maximum over the tasks and the mean of the low-data tasks.',),
    ),
    'tasks': Study(
        title='Does learning twelve tasks at once help the two broad ones, and can a rare one be learned alone?',
        runs={
            MT_OPT: 'lift-any 0.89, place-any 0.85, lift-sausage 0.39 (verified)',
            'two-tasks': 'lift-any 0.82, place-any 0.63 (verified)',
            'rare-alone': 'near zero; lift-can about 0.01 (verified)',
        },
        tasks=(*BROAD, RARE),
        notes=('Paper: Table I and section VII-D.',),
    ),
    'failures': Study(
        title="What do other tasks' successes and failures teach a rare lift?",
        runs={
            'rare-alone': '',
            'rare-successes': '0.03 (verified)',
            'rare-failures': '',
            MT_OPT: '0.39 (verified)',
        },
        tasks=(RARE,),
        notes=('Paper: section VII-E; the successes of all tasks with own failures, then with all failures.',),
    ),
    'new-task': Study(
        title='Does a policy of twelve tasks learn two new ones from few episodes, where those alone do not suffice?',
        runs={
            'new-fine-tuned': 'lift-cloth 0.70, cover-object 0.44 (verified)',
            'new-alone': 'lift-cloth 0.33, cover-object 0.05 (verified)',
        },
        tasks=NEW,
        tasks_file=WITH_NEW,
        seeds=(0,),
        notes=(
            'Paper: section VII-F, 11,000 episodes of the one and 3,000 of the other.',
            'Both runs learn from the same episodes of the new tasks; no other episode has a cloth.',
            'The paper goes on learning the old tasks; here the fine-tuned policy only starts from their weights.',
        ),
    ),
    'balance': Study(
        title='Which share of successes within a task?',
        runs={
            'balance-10': '',
            'balance-25': '',
            'short': 'kept constant, value not published',
            'balance-50': '',
            'balance-75': '',
            'balance-90': '',
        },
        seeds=(0,),
        notes=("The share of `short` is the recipe's, `rebalancing.success_share` in config/trainer/small.yaml.",),
    ),
    'heads': Study(
        title='One head for all tasks, or one for each?',
        runs={'short': 'better on almost all tasks (verified)', 'head-per-task': ''},
        seeds=(0,),
        notes=('Paper: Fig. 10.',),
    ),
    'outcomes': Study(
        title="Does the loop close without the simulator's truth: what do the learned detector's outcomes cost?",
        runs={'short': '', 'detector-outcomes': ''},
        seeds=(0,),
        notes=('Evaluated by the truth, both. Of an episode for which the detector is unsure nothing is learned.',),
    ),
    'actions': Study(
        title='Which views does the policy need, and what does it cost to learn to close, lift and terminate?',
        runs={'short': '', 'main-view': '', 'wrist-view': '', 'full': '', 'full-main-view': "the paper's"},
        seeds=(0,),
        notes=('The full action space has a dataset of its own, made in the same way.',),
    ),
    'critic': Study(
        title="Do newer ideas for the critic beat the paper's recipe?",
        runs=dict.fromkeys(
            (
                'short',
                'discount-90',
                'monte-carlo',
                'logged-action',
                'hl-gauss',
                'task-embedding',
                'layer-norm',
                'three-step',
                'context-map',
                'one-task-each',
                'ends-as-they-come',
            ),
            '',
        ),
        seeds=(0,),
        notes=(
            'one-task-each: a transition is an example of the task it was drawn for only, as in the paper.',
            'ends-as-they-come: last transitions have the share of a batch they have of the data, as in the paper.',
        ),
    ),
}


def find_study(name: str) -> Study:
    """Return a study.

    Raises:
        ConfigurationError: There is none of that name.
    """
    if name not in STUDIES:
        raise ConfigurationError(f'unknown study {name!r}; known: {", ".join(STUDIES)}')
    return STUDIES[name]


def low_data(tasks: TaskSet) -> tuple[str, ...]:
    """Return the tasks with little data of their own: all but the broad ones."""
    return tuple(task.name for task in tasks.tasks if not task.broad)
