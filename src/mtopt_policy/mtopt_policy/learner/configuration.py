"""How the learner learns: presets in `config/trainer/`, every value of which can be overridden."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mtopt_core.errors import ConfigurationError
from mtopt_core.paths import shipped
from mtopt_policy.learner.rebalancing import Rebalancing
from mtopt_policy.q_network import NetworkConfiguration, QNetworkConfiguration

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]


class _Model(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True)


class OptimizerConfiguration(_Model):
    """The optimiser.

    Attributes:
        method: `adam`, or `momentum` for stochastic gradient descent with momentum 0.9.
        learning_rate: Its learning rate.
        cooldown: Share of all gradient steps asked for, at the end, over which the learning rate falls linearly to
            zero; an endless training has no end.
        l2: Factor of the squared weights in the loss; biases and normalisation are spared.
        largest_gradient: Norm to which the gradient is clipped.
    """

    method: Literal['adam', 'momentum']
    learning_rate: Positive
    cooldown: Share = 0.0
    l2: Annotated[float, Field(ge=0)]
    largest_gradient: Positive


class TargetConfiguration(_Model):
    """Q-targets.

    Attributes:
        discount: gamma.
        n_step: Decisions from s to the s' whose value is the target; 1 is the paper's.
        monte_carlo: Whether the return of an episode that succeeded bounds its targets from below.
        logged_action: Whether the action taken in the next state is a candidate beside CEM's.
        averaging: Share of the online weights in target 1 after each step.
        lag: Steps after which target 2 is renewed from target 1.
        uses: Gradient steps a label is used in, on average.
        age_limit: Gradient steps after which a label is not used any more.
        cem_samples: Actions CEM draws in each iteration.
        cem_elites: Of these, the ones it refits to.
        cem_iterations: Its iterations.
    """

    discount: Share
    n_step: Count = 1
    monte_carlo: bool
    logged_action: bool = False
    averaging: Share
    lag: Count
    uses: Count
    age_limit: Count
    cem_samples: Count
    cem_elites: Count
    cem_iterations: Count


class AugmentationConfiguration(_Model):
    """Random changes of training images.

    Attributes:
        shift: Largest shift, px.
        brightness: Largest change of brightness, of a range of 1.
        contrast: Largest relative change of contrast.
    """

    shift: Annotated[int, Field(ge=0)]
    brightness: Share
    contrast: Share


class SharingConfiguration(_Model):
    """Which episodes are shared by what a task gains from them (`data_sharing.py`); for that impersonation only.

    Attributes:
        quantile: Share of a task's own episodes that are worth less to it than an episode must be to be shared: 0.9,
            as in the comparison by UTDS (arXiv 2404.19346), which keeps a tenth; how many the paper keeps we could not
            verify.
        every: Gradient steps between two computations of worth.
        episodes: Episodes whose worth is computed at a time.
    """

    quantile: Share = 0.9
    every: Count = 500
    episodes: Count = 2000


class TrainerConfiguration(_Model):
    """A trainer preset.

    Attributes:
        network: The Q-network.
        batch: Transitions of a gradient step, and of a batch of labels.
        optimizer: See there.
        targets: See there.
        augmentation: See there.
        rebalancing: See there.
        sharing: See there.
        export_seconds: Time between two exported checkpoints, s.
        keep: Exported checkpoints kept.
        seed: Of everything random.
    """

    network: NetworkConfiguration
    batch: Count
    optimizer: OptimizerConfiguration
    targets: TargetConfiguration
    augmentation: AugmentationConfiguration
    rebalancing: Rebalancing
    sharing: SharingConfiguration = SharingConfiguration()
    export_seconds: Positive
    keep: Count
    seed: Annotated[int, Field(ge=0)]

    @field_validator('network', mode='before')
    @classmethod
    def _by_name(cls, network: object) -> object:
        """Accept a network's name alone, as trainer states and presets made before had it."""
        if network not in ('paper', 'small'):
            return network
        named: QNetworkConfiguration = getattr(QNetworkConfiguration, str(network))(tasks=1)
        return named.model_dump(exclude={'tasks'})


def load_trainer(preset: str, overrides: Sequence[str] = ()) -> TrainerConfiguration:
    """Read a trainer preset.

    Args:
        preset: Name of a shipped preset (`small`, `paper`), or path of a YAML file.
        overrides: Values to change, as `optimizer.learning_rate=3.0e-4`.

    Raises:
        ConfigurationError: The file cannot be read, an override is malformed, or a value breaks a rule.
    """
    path = Path(preset) if preset.endswith('.yaml') else shipped('config', 'trainer', f'{preset}.yaml')
    try:
        values = yaml.safe_load(path.read_text())
        for override in overrides:
            _override(values, override)
        return TrainerConfiguration.model_validate(values)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(f'trainer preset {path}: {error}') from None


def _override(values: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition('=')
    if not equals:
        raise ConfigurationError(f'override {override!r} is not of the form name=value, as in targets.discount=0.75')
    *groups, key = name.split('.')
    for group in groups:
        # A group that does not exist is made, so that validation finds it and names it.
        if not isinstance(values.get(group), dict):
            values[group] = {}
        values = values[group]
    values[key] = yaml.safe_load(value)
