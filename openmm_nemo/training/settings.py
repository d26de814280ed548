"""Settings of a training run, read from one TOML file."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationError,
    field_validator,
    model_validator,
)

from openmm_nemo.config import NemoConfig
from openmm_nemo.errors import InputError
from openmm_nemo.models.pretrained import list_models
from openmm_nemo.training.force_matching import FORCES
from openmm_nemo.training.losses import (
    CARTESIAN_NOISE,
    COMPARING,
    INTERNAL_NOISE,
    LEARNT_TERMS,
    LOSSES,
)
from openmm_nemo.training.parts import PARTS, has_part
from openmm_nemo.training.prediction import RolloutSettings

OF_THE_ENERGY = (*COMPARING, "energy_size", "denoising_x", "denoising_z", "lyapunov", FORCES)
"""Losses that depend on the energy, also where no step of a simulation is back-propagated."""

Sizes = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]

NEED_SIMULATOR = (*OF_THE_ENERGY, *LEARNT_TERMS)
"""Losses that need an energy, which a baseline does not have."""


class _Table(BaseModel):
    """A table of the file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Table):
    """The networks.

    Attributes
    ----------
    preset : str
        See `NemoConfig.preset`.
    profile : bool
        Whether the input includes a profile.
    changes : dict
        Hyperparameters of `NemoConfig` that differ from the preset.
    start : str, optional
        Model whose weights training starts from, instead of random ones: a folder, relative to the file, or a name in
        `openmm_nemo.list_models`. It must have the same hyperparameters.
    cooling, strength : float
        Scaling of an energy that has not been trained yet, see `SequenceNetwork.cool`: noise blurs the short
        simulations that it learns from. 1 and 1 leave the energy as it is, which suits one that has been trained.
    """

    preset: str = "tiny"
    profile: bool = False
    changes: dict[str, Any] = {}
    start: str | None = None
    cooling: float = Field(default=1.0, ge=1, le=19)
    strength: float = Field(default=1.0, gt=0)

    def config(self) -> NemoConfig:
        """Hyperparameters of the networks."""
        preset = NemoConfig.preset(self.preset, self.profile)
        changes = self.changes
        if changes.get("lstm_units"):  # in version 0.1, this alone made a baseline
            changes = {"kind": "baseline"} | changes
        return NemoConfig.from_dict(preset.to_dict() | changes)


class DataSettings(_Table):
    """The training data.

    Attributes
    ----------
    set : Path
        Folder written by ``openmm-nemo data build``. Paths are relative to the file.
    split : Path
        File written by ``openmm-nemo data split``.
    max_length : int
        Longest window, residues.
    min_length : int, optional
        The length of each training window is drawn uniformly between this and ``max_length``; shorter domains are
        whole. Default: ``max_length``.
    batch_size : int
    one_of_each_cluster : bool
        Whether an epoch has one domain from each sequence cluster instead of all.
    without_near_held_out : bool
        Leave out domains whose fold is close to that of a protein kept outside the set for tests; the difference this
        makes shows how much such closeness helps.
    profile_kind : str
        Kind of the set's profiles that a profile model learns from, see
        `openmm_nemo.data.families.profiles.PROFILE_KINDS`.
    profiles : Path, optional
        JSON lines of profiles, which replace those of the set.
    profile_dropout : float
        Probability that a domain gets no profile in an epoch, see `openmm_nemo.data.batches.DomainDataset`. If it is
        not 0, the model also learns from domains without a profile.
    alignments : Path, optional
        Folder of alignments, or .npz file of many, see `openmm_nemo.data.families.alignments.read_alignments`.
    force_frames : tuple of Path
        Files of `openmm_nemo.data.ForceFrames`, from which stages with the loss "forces" draw ``batch_size`` whole
        frames per update. The energy is learnt in kT at their temperature.
    validation_domains : int
        Number of held-out domains on which training is validated.
    """

    set: Path
    split: Path
    max_length: int = Field(64, ge=4)
    min_length: int | None = Field(None, ge=4)
    batch_size: int = Field(16, ge=1)
    one_of_each_cluster: bool = True
    without_near_held_out: bool = False
    profile_kind: Literal["deep", "own"] = "deep"
    profiles: Path | None = None
    profile_dropout: float = Field(0.0, ge=0, lt=1)
    alignments: Path | None = None
    force_frames: tuple[Path, ...] = ()
    validation_domains: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "DataSettings":
        if self.min_length is not None and self.min_length > self.max_length:
            raise ValueError(
                f"min_length is {self.min_length}, use at most max_length ({self.max_length})"
            )
        return self


class StageSettings(_Table):
    """A part of a run, with its own roll-outs and losses.

    Attributes
    ----------
    updates : int
        Number of updates of the weights.
    steps, backpropagated, states : int
        See `RolloutSettings`.
    minimise : int
        Number of steps of minimisation after each roll-out, without gradients: what the energy is lowest at, which a
        simulation of these steps may not find, see `openmm_nemo.dynamics.minimisation.minimise`.
    min_steps : int, optional
        Roll-outs have between this and ``steps`` steps, a different number in each update, so that the energy learns
        what to do early and late. Default: ``steps``.
    from_data : float
        Fraction of the roll-outs that start from the data, and learn to stay there; all others start where simulations
        do, and learn to get there.
    train : tuple of str
        Parts of the model that the stage trains, names in `openmm_nemo.training.parts.PARTS`: "scales", "heads" or
        both; all else stays as it is. Default: the whole model.
    losses : dict of str to float
        Weights of `openmm_nemo.training.losses.LOSSES` and of "forces", see `openmm_nemo.training.force_matching`;
        losses that are not named are not used.
    learning_rate : float
        Peak learning rate of the stage; the rate rises to it and then falls to zero along a cosine.
    """

    updates: int = Field(ge=1)
    steps: int = Field(0, ge=0)
    minimise: int = Field(0, ge=0)
    min_steps: int | None = Field(None, ge=0)
    backpropagated: int = Field(0, ge=0)
    states: int = Field(1, ge=1)
    from_data: float = Field(0.0, ge=0, le=1)
    train: tuple[str, ...] = ()
    losses: dict[str, float]
    learning_rate: float = Field(1e-3, gt=0)

    @field_validator("losses")
    @classmethod
    def _known(cls, losses: dict[str, float]) -> dict[str, float]:
        known = (*LOSSES, FORCES)
        for name, weight in losses.items():
            if name not in known:
                raise ValueError(f"there is no loss {name!r}, use one of {', '.join(known)}")
            if not weight > 0:
                raise ValueError(f"the weight of {name} is {weight}, use a positive number")
        return losses

    @field_validator("train")
    @classmethod
    def _parts(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        for name in parts:
            if name not in PARTS:
                raise ValueError(f"there is no part {name!r}, use {' and '.join(PARTS)}")
        return parts

    @model_validator(mode="after")
    def _ordered(self) -> "StageSettings":
        if self.min_steps is not None and self.min_steps > self.steps:
            raise ValueError(f"min_steps is {self.min_steps}, use at most steps ({self.steps})")
        if "contrastive_likelihood" in self.losses and not (self.steps or self.minimise):
            raise ValueError(
                "contrastive_likelihood learns from simulations, give the stage steps or minimise"
            )
        if self.minimise and self.backpropagated:
            raise ValueError("gradients do not flow through minimise, leave out backpropagated")
        return self

    def rollout(self, seed: int) -> RolloutSettings:
        """How chains are simulated in an update with this seed."""
        shortest = self.steps if self.min_steps is None else self.min_steps
        steps = shortest + seed % (self.steps - shortest + 1)
        return RolloutSettings(steps, self.backpropagated, self.states, self.minimise)


class TrainingSettings(_Table):
    """A training run.

    Attributes
    ----------
    description : str
        One sentence about the model, for its users.
    seed : int
        Random seed.
    data : DataSettings
    model : ModelSettings
    stages : list of StageSettings
        One after another.
    precision : str
        "32", or "bf16", with which the sequence network and the imputation multiply 16-bit numbers; see
        `openmm_nemo.models.precision`.
    cartesian_noise, internal_noise : tuple of float
        Sizes of the noise, Angstrom and radian, in the losses "denoising_x" and "denoising_z".
    renormalisation : tuple of int, optional
        Updates of the run at which the limits of Batch Renormalisation begin to rise and at which they have risen, see
        `openmm_nemo.networks.normalization.limits`. Default: they never rise, which is Batch Normalisation.
    warm_up : int
        Updates of each stage during which the learning rate rises to its value.
    max_gradient_norm : float
        Larger gradients are scaled down to this norm.
    skip_factor : float
        Updates whose gradient is larger than ``max_gradient_norm`` times this, or not finite, are skipped.
    ema_decay : float
        Decay of the moving average of the weights, which is what is exported.
    validate_every : int
        Number of updates between validations.
    """

    description: str
    seed: int = Field(1, ge=0)
    data: DataSettings
    model: ModelSettings = ModelSettings()
    stages: list[StageSettings] = Field(min_length=1)
    precision: Literal["32", "bf16"] = "32"
    cartesian_noise: Sizes = CARTESIAN_NOISE
    internal_noise: Sizes = INTERNAL_NOISE
    renormalisation: tuple[NonNegativeInt, NonNegativeInt] | None = None
    warm_up: int = Field(100, ge=0)
    max_gradient_norm: float = Field(1.0, gt=0)
    skip_factor: float = Field(1000.0, ge=1)
    ema_decay: float = Field(0.999, ge=0, lt=1)
    validate_every: int = Field(200, ge=1)

    @field_validator("renormalisation")
    @classmethod
    def _rising(cls, updates: tuple[int, int] | None) -> tuple[int, int] | None:
        if updates is not None and updates[0] >= updates[1]:
            raise ValueError(f"the updates are {list(updates)}, give first the smaller one")
        return updates

    @property
    def updates(self) -> int:
        """Updates of all stages."""
        return sum(stage.updates for stage in self.stages)

    @property
    def backpropagated(self) -> int:
        """Steps of the longest back-propagation."""
        return max(min(stage.steps, stage.backpropagated) for stage in self.stages)

    def stage_of(self, update: int) -> tuple[StageSettings, int]:
        """The stage of an update (from 0), and the update's number in it."""
        for stage in self.stages:
            if update < stage.updates:
                return stage, update
            update -= stage.updates
        return self.stages[-1], update + self.stages[-1].updates


def read_settings(path: Path) -> TrainingSettings:
    """Read a TOML file.

    Raises
    ------
    InputError
        If it cannot be read, or a key is missing, unknown or has a wrong value; if a baseline has a precision or
        settings that need an energy; if the model takes inputs that sets of domains do not have; if a stage learns from
        forces that are not given, or with profiles, or has a loss of an energy term that the model does not have; if a
        stage trains a part that the model does not have, or that its losses do not depend on.
    """
    try:
        values = tomllib.loads(path.read_text())
        settings = TrainingSettings.model_validate(values)
        config = settings.model.config()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): give a TOML file.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {place}: {first['msg']}.") from None
    except InputError as error:
        raise InputError(f"{path}: model: {error}") from None
    if config.kind == "baseline":
        _check_baseline(path, settings)
    _check_encoders(path, settings, config)
    _check_forces(path, settings)
    _check_terms(path, settings, config)
    _check_parts(path, settings, config)
    folder = path.resolve().parent
    files: dict[str, Any] = {
        name: folder / value
        for name in ("set", "split", "profiles", "alignments")
        if (value := getattr(settings.data, name)) is not None
    }
    files["force_frames"] = tuple(folder / value for value in settings.data.force_frames)
    update: dict[str, Any] = {"data": settings.data.model_copy(update=files)}
    if settings.model.start and settings.model.start not in list_models():
        start = str(folder / settings.model.start)
        update["model"] = settings.model.model_copy(update={"start": start})
    return settings.model_copy(update=update)


def _check_encoders(path: Path, settings: TrainingSettings, config: NemoConfig) -> None:
    known = NemoConfig.preset(settings.model.preset, settings.model.profile).encoders
    if config.encoders != known:
        raise InputError(
            f"{path}: model.changes.encoders is {list(config.encoders)}, but sets of domains have sequences and "
            "profiles only: leave it out, and set model.profile for a profile model."
        )


def _check_forces(path: Path, settings: TrainingSettings) -> None:
    for number, stage in enumerate(settings.stages):
        if FORCES not in stage.losses:
            continue
        place = f"{path}: stages.{number}.losses has {FORCES}"
        if not settings.data.force_frames:
            raise InputError(
                f"{place}, but there are no frames to learn from: give data.force_frames."
            )
        if settings.model.profile:
            raise InputError(
                f"{place}, but the model needs profiles, which frames do not have: use only one of them."
            )


def _check_terms(path: Path, settings: TrainingSettings, config: NemoConfig) -> None:
    for number, stage in enumerate(settings.stages):
        for loss, term in LEARNT_TERMS.items():
            if loss in stage.losses and term not in config.terms:
                raise InputError(
                    f"{path}: stages.{number}.losses has {loss}, but the model does not have the energy term {term}: "
                    "add it to model.changes.terms, or leave the loss out."
                )


def _check_parts(path: Path, settings: TrainingSettings, config: NemoConfig) -> None:
    depend = {"scales": OF_THE_ENERGY, "heads": NEED_SIMULATOR}
    for number, stage in enumerate(settings.stages):
        place = f"{path}: stages.{number}.train"
        for part in stage.train:
            if not has_part(config, part):
                raise InputError(
                    f"{place} has {part}, but the model has none: leave it out, or give the model an energy with fixed "
                    "functions."
                )
            if not (stage.backpropagated or set(depend[part]) & set(stage.losses)):
                raise InputError(
                    f"{place} has {part}, but none of the stage's losses depends on it: add one of "
                    f"{', '.join(depend[part])}, or backpropagated steps."
                )


def _check_baseline(path: Path, settings: TrainingSettings) -> None:
    if settings.precision != "32":
        raise InputError(
            f"{path}: precision is {settings.precision}, but the model is a baseline, whose LSTM learns in 32 bits: "
            "leave it out."
        )
    for number, stage in enumerate(settings.stages):
        place = f"{path}: stages.{number}"
        if stage.steps:
            raise InputError(
                f"{place}.steps is {stage.steps}, but the model is a baseline, which is not simulated: leave it out."
            )
        for name in NEED_SIMULATOR:
            if name in stage.losses:
                raise InputError(
                    f"{place}.losses has {name}, but the model is a baseline without energy: leave it out."
                )
