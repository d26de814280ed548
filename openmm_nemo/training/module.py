"""Training of a model as a Lightning module (paper, 3.2 and appendix B)."""

import dataclasses
import hashlib
import math
import warnings
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from openmm_nemo.conditioning.sequence import SequenceNetwork
from openmm_nemo.data.batches import Batch
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.dynamics.backpropagation import AdaptiveDamping, GradientGrowth
from openmm_nemo.errors import InputError
from openmm_nemo.geometry import superpose
from openmm_nemo.models import NemoModel
from openmm_nemo.models.migration import current_names
from openmm_nemo.networks.normalization import BatchRenorm, limits
from openmm_nemo.residues import MIN_LENGTH
from openmm_nemo.training.force_matching import FORCES, FramePool, force_error
from openmm_nemo.training.losses import COMPARING, LEARNT_TERMS, LOSSES, Prediction
from openmm_nemo.training.parts import train_only
from openmm_nemo.training.prediction import RolloutSettings, predict, update_statistics
from openmm_nemo.training.processes import mean_over_processes, running_statistics
from openmm_nemo.training.settings import ModelSettings, StageSettings, TrainingSettings

STATISTICS_EVERY = 10
"""In stages without simulation, the statistics of the energy's normalisations are updated only this often."""

REFERENCE_DOMAINS = 2000
"""Maximum number of domains to which reference states of the energy are fitted."""


def first_model(settings: ModelSettings) -> NemoModel:
    """The model that training starts from: random weights, or those of another model.

    Raises
    ------
    InputError
        If the other model cannot be read or has other hyperparameters.
    """
    config = settings.config()
    model = NemoModel(config)
    if settings.start:
        started = NemoModel.from_pretrained(settings.start)
        for field in dataclasses.fields(config):
            here, there = getattr(config, field.name), getattr(started.config, field.name)
            if here != there:
                raise InputError(
                    f"The start model {settings.start} has {field.name} {there}, not "
                    f"{here}: set model.preset, model.profile and model.changes as when it was made."
                )
        model.load_state_dict(started.state_dict())
    network = model.sequence_network
    if isinstance(network, SequenceNetwork) and (settings.cooling, settings.strength) != (1, 1):
        network.cool(settings.cooling, settings.strength)
    return model


class NemoTraining(lightning.LightningModule):
    """A model that learns stage by stage.

    Everything random is a function of the seed, the number of the update and the process, so that a resumed run is
    identical to an uninterrupted one. Processes that share each update have their own batches and noise, and everything
    else in common: gradients, running statistics and the growth that damping follows are means over them.

    Parameters
    ----------
    settings : TrainingSettings
    force_frames : FramePool, optional
        For stages with the loss "forces".

    Attributes
    ----------
    model : NemoModel
    losses : nn.ModuleDict
        All losses; some have trainable weights.
    damping : AdaptiveDamping
    skipped : int
        Updates that were skipped because their gradient was not finite or too large.
    was_skipped : bool
        Whether the last update was skipped.
    """

    def __init__(self, settings: TrainingSettings, force_frames: FramePool | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.force_frames = force_frames
        torch.manual_seed(settings.seed)
        self.model = first_model(settings.model)
        options = {
            "denoising_x": {"sizes": settings.cartesian_noise},
            "denoising_z": {"sizes": settings.internal_noise},
        }
        self.losses = nn.ModuleDict(
            {name: make(**options.get(name, {})) for name, make in LOSSES.items()}
        )
        self.damping = AdaptiveDamping()
        self.skipped = 0
        self.was_skipped = False
        self._reported = 0
        self._growth = GradientGrowth()
        self._metrics: dict[str, Tensor] = {}
        self._statistics: list[Tensor] = []

    def fit_reference(self, domains: Sequence[Domain]) -> None:
        """Fit the reference states of the energy to the training set, if a stage learns a term directly.

        The chains are the unbroken segments of up to `REFERENCE_DOMAINS` domains, evenly spaced. A start model keeps
        its reference states, because its coefficients are relative to them.

        Parameters
        ----------
        domains : sequence of Domain
            Training set.
        """
        learnt = any(
            loss in LEARNT_TERMS for stage in self.settings.stages for loss in stage.losses
        )
        if not learnt or self.settings.model.start or self.model.energy is None:
            return
        self.model.energy.fit_reference(
            [
                torch.tensor(domain.ca[start:end])
                for domain in domains[:: -(-len(domains) // REFERENCE_DOMAINS)]
                for start, end in domain.segments
                if end - start >= MIN_LENGTH
            ]
        )

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Weighted sum of the stage's losses."""
        stage, _ = self.settings.stage_of(self.global_step)
        train_only(self.model, stage.train)
        self._set_limits()
        seed = self._seed("update", self.global_step)
        torch.manual_seed(seed)  # for dropout
        self._growth = GradientGrowth()
        self._metrics = {"data/outside_contacts": batch.outside_contacts.mean()}
        self._statistics = [value.clone() for value in running_statistics(self.model)]
        prediction = predict(
            self.model,
            batch,
            stage.rollout(self._seed("length", self.global_step, process=0)),
            seed,
            from_data=torch.rand(len(batch.mask), device=batch.mask.device) < stage.from_data,
            damping=self.damping.factor,
            growth=self._growth,
            lyapunov="lyapunov" in stage.losses,
            precision=self.settings.precision,
        )
        if stage.steps or self.global_step % STATISTICS_EVERY == 0:
            update_statistics(self.model, batch, prediction)
        mean_over_processes(running_statistics(self.model))
        total = self._weighted(stage, prediction, batch)
        self.log("loss/total", total, prog_bar=True, logger=False)
        self._metrics["loss/total"] = total
        if any(name in COMPARING for name in stage.losses):
            self._metrics |= self.gap_metrics(prediction, batch)
        return total

    @torch.no_grad()
    def gap_metrics(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Mean of U(native) - U(sample), kT per residue, and the share of natives that are below their samples."""
        gap = self.losses["contrastive_likelihood"](prediction, batch)
        return {"energy/gap": gap.mean(), "energy/natives_below": (gap < 0).float().mean()}

    def _set_limits(self) -> None:
        """Set the limits of Batch Renormalisation, which depend only on the number of the update."""
        if self.settings.renormalisation is None:
            return
        r_max, d_max = limits(self.global_step, *self.settings.renormalisation)
        for part in self.model.modules():
            if isinstance(part, BatchRenorm):
                part.r_max, part.d_max = r_max, d_max

    def _weighted(self, stage: StageSettings, prediction: Prediction, batch: Batch) -> Tensor:
        total = prediction.x.new_zeros(())
        for name, weight in stage.losses.items():
            error = self._force_error() if name == FORCES else self.losses[name](prediction, batch)
            value = error.mean()
            self._metrics[f"loss/{name}"] = value
            total = total + weight * value
        return total

    def _force_error(self) -> Tensor:
        """Force errors of the frames that this update draws."""
        assert self.force_frames is not None
        seed = self._seed("frames", self.global_step)
        frames = self.force_frames.draw(self.settings.data.batch_size, seed)
        return force_error(self.model, frames.to(self.device))

    def on_after_backward(self) -> None:
        """Measure the growth of the gradient along the roll-out."""
        if self._growth.log_growth:
            measured = torch.tensor(self._growth.mean(), device=self.device)
            mean_over_processes([measured])
            self.damping.update(float(measured))
            self._metrics["gradient/log_growth"] = measured
            self._metrics["gradient/damping"] = torch.tensor(self.damping.factor)

    def configure_gradient_clipping(self, *arguments: Any, **options: Any) -> None:
        """Scale large gradients down; skip and count updates whose gradient is not finite or far too large.

        A skipped update changes neither weights nor running statistics.
        """
        norm = nn.utils.clip_grad_norm_(self.parameters(), self.settings.max_gradient_norm)
        self.was_skipped = not norm.item() <= self._largest_norm  # true for NaN, too
        if self.was_skipped:
            self.skipped += 1
            for parameter in self.parameters():
                parameter.grad = None
            for value, before in zip(running_statistics(self.model), self._statistics, strict=True):
                value.copy_(before)
        self._metrics["gradient/norm"] = norm
        self._metrics["gradient/skipped"] = torch.tensor(float(self.skipped))
        self._write_metrics()

    def _write_metrics(self) -> None:
        """Log the metrics of this update from time to time; Lightning would add those of earlier stages."""
        if (self.global_step + 1) % self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        values = torch.stack(
            [value.detach().float().to(self.device) for value in self._metrics.values()]
        )
        mean_over_processes([values])
        metrics = dict(zip(self._metrics, values.tolist(), strict=True))
        for logger in self.loggers:
            logger.log_metrics(metrics, self.global_step)

    @property
    def _largest_norm(self) -> float:
        return self.settings.max_gradient_norm * self.settings.skip_factor

    def gradient_norms(self) -> Tensor:
        """|g| at the steps of the last roll-out that were back-propagated, last first; shape (S,), 1/Angstrom.

        g is the gradient of the loss with respect to the positions of all chains after a step; with several processes,
        the root mean square over them. All of them must call this.
        """
        if not self._growth.norms:
            return torch.zeros(0)
        squares = torch.stack(self._growth.norms).square().sum(1)
        mean_over_processes([squares])
        return squares.sqrt()

    def on_validation_start(self) -> None:
        """Warn about updates that were skipped since the last validation."""
        if self.skipped > self._reported and self.trainer.is_global_zero:
            warnings.warn(
                f"{self.skipped - self._reported} of the updates before {self.global_step} were skipped: their "
                f"gradients were not finite or larger than {self._largest_norm:g}.",
                stacklevel=2,
            )
        self._reported = self.skipped

    def configure_optimizers(self) -> Any:
        """Adam; in each stage the learning rate rises to its value and falls to zero along a cosine."""
        optimizer = torch.optim.Adam(self.parameters(), lr=1.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._learning_rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _learning_rate(self, update: int) -> float:
        stage, number = self.settings.stage_of(update)
        rise = min(1.0, (number + 1) / max(self.settings.warm_up, 1))
        fall = 0.5 * (1 + math.cos(math.pi * min(number / stage.updates, 1.0)))
        return stage.learning_rate * rise * fall

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """TM-score and RMSD of one structure of each held-out domain, after the roll-out and before it."""
        stage, _ = self.settings.stage_of(self.global_step - 1)  # of the last update
        rollout = RolloutSettings(stage.steps, 0, 1)
        seed = self._seed("validation", batch_index)
        prediction = predict(self.model, batch, rollout, seed)
        n = batch.mask.sum(-1)
        for name, x in (("", prediction.x), ("_z0", prediction.x0)):
            tm = 1 - self.losses["tm"](prediction._replace(x=x), batch)
            apart = ((superpose(x, batch.x, batch.mask) - batch.x) ** 2).sum(-1)
            rmsd = ((apart * batch.mask).sum(-1) / n).sqrt()
            for what, value in (("tm", tm), ("rmsd", rmsd)):
                self.log(
                    f"validation/{what}{name}", value.mean(), batch_size=len(n), sync_dist=True
                )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save state that is neither weights nor the optimizer's."""
        checkpoint["damping_log_growth"] = self.damping.log_growth
        checkpoint["skipped"] = self.skipped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore it; runs of version 0.1 have other names of weights."""
        for key in ("state_dict", "current_model_state"):
            if key in checkpoint:
                checkpoint[key] = current_names(checkpoint[key])
        self.damping.log_growth = checkpoint["damping_log_growth"]
        self.skipped = self._reported = checkpoint["skipped"]

    def _seed(self, what: str, number: int, process: int | None = None) -> int:
        """Seed of the noise, by default different for each process; far from the seeds of other updates."""
        process = self.global_rank if process is None else process
        text = f"{self.settings.seed} {what} {number} {process}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) // 2
