"""The learner on bags and what its parts need: for the benchmarks of these."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtopt_core.configuration import load_cell
from mtopt_core.label_store import SIMULATOR
from mtopt_core.paths import DataFolder
from mtopt_core.precision import Precision
from mtopt_core.tasks import load_tasks
from mtopt_policy.cem import CrossEntropyMethod
from mtopt_policy.learner.batches import Loader
from mtopt_policy.learner.bellman_updater import BellmanUpdater
from mtopt_policy.learner.drawing import draw_transitions
from mtopt_policy.learner.episode_store import EpisodeStore
from mtopt_policy.learner.target_networks import TargetNetworks
from mtopt_policy.learner.training import Training, TrainingOptions
from mtopt_policy.learner.transitions import StoreLayout

PRESET = 'small'
TASKS = load_tasks()


class LearnerOnBags:
    """A training of the preset `small` that has read its bags, in its default setting.

    Args:
        data: The bags, with outcomes of the simulator.
        out: Folder of the training.

    Attributes:
        learner: The learner.
        configuration: How it learns.
        store: The episode store it has filled.
        loader: Loads from there.
    """

    def __init__(self, data: DataFolder, out: Path) -> None:
        options = TrainingOptions(
            data=data, out=out, tasks=TASKS, cell=load_cell(), preset=PRESET, sources=(SIMULATOR,)
        )
        training = Training(options)
        training.read()
        training.require_data()
        self.learner = training.learner
        self.configuration = training.configuration
        (folder,) = (data.root / 'replay').iterdir()
        self.store = EpisodeStore(folder, StoreLayout.model_validate_json((folder / 'layout.json').read_text()))
        self.loader = Loader(self.store)

    def draw(self, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw re-balanced transitions as the learner does: `(B,)` rows in the store, `(B, T)` outcomes."""
        return draw_transitions(self.configuration.rebalancing, self.learner.buffers, self.store, batch, rng)

    def bellman_updater(self, targets: TargetNetworks) -> BellmanUpdater:
        """Return a Bellman updater like the learner's, with target networks of one's own."""
        preset, action_space = self.configuration.targets, self.store.layout.action_space
        cem = CrossEntropyMethod(action_space, preset.cem_samples, preset.cem_elites, preset.cem_iterations)
        masks = np.array(
            [[action_space.choices(task.skill, closed) for closed in (False, True)] for task in TASKS.tasks]
        )
        return BellmanUpdater(
            targets,
            cem,
            masks,
            preset.discount,
            preset.monte_carlo,
            preset.logged_action,
            Precision.of_this_machine(),
        )
