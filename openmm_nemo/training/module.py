"""The training of a model, as a Lightning module (paper, 3.2 and appendix B)."""

import hashlib
import math
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from openmm_nemo.data.batches import Batch
from openmm_nemo.geometry import superpose
from openmm_nemo.networks import NemoModel
from openmm_nemo.networks.sequence import SequenceNetwork
from openmm_nemo.simulator.backpropagation import AdaptiveDamping, GradientGrowth
from openmm_nemo.training.force_matching import FORCES, FramePool, force_error
from openmm_nemo.training.losses import LOSSES, Prediction
from openmm_nemo.training.prediction import RolloutSettings, predict, update_statistics
from openmm_nemo.training.settings import ModelSettings, StageSettings, TrainingSettings

STATISTICS_EVERY = 10
"""Updates of stages without simulation, in which the statistics of the energy's normalisations are not needed yet."""


def untrained_model(settings: ModelSettings) -> NemoModel:
    """The model that training begins with; its weights are random."""
    model = NemoModel(settings.config())
    if isinstance(model.sequence_network, SequenceNetwork):
        model.sequence_network.cool(settings.cooling)
    return model


class NemoTraining(lightning.LightningModule):
    """A model that learns stage by stage.

    Everything random is a function of the seed and of the number of the update, so that a run that is resumed is the
    run that was not interrupted.

    Parameters
    ----------
    settings : TrainingSettings
    force_frames : FramePool, optional
        For stages with the loss "forces".

    Attributes
    ----------
    model : NemoModel
    losses : nn.ModuleDict
        All losses; some have weights of their own.
    damping : AdaptiveDamping
    skipped : int
        Updates that were left out, because their gradient was not finite.
    """

    def __init__(self, settings: TrainingSettings, force_frames: FramePool | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.force_frames = force_frames
        torch.manual_seed(settings.seed)
        self.model = untrained_model(settings.model)
        self.losses = nn.ModuleDict({name: make() for name, make in LOSSES.items()})
        self.damping = AdaptiveDamping()
        self.skipped = 0
        self._growth = GradientGrowth()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Weighted sum of the stage's losses."""
        stage, _ = self.settings.stage_of(self.global_step)
        seed = self._seed("update", self.global_step)
        torch.manual_seed(seed)  # of dropout
        self._growth = GradientGrowth()
        prediction = predict(
            self.model,
            batch,
            stage.rollout(seed),
            seed,
            from_data=torch.rand(len(batch.mask), device=batch.mask.device) < stage.from_data,
            damping=self.damping.factor,
            growth=self._growth,
            lyapunov="lyapunov" in stage.losses,
        )
        if stage.steps or self.global_step % STATISTICS_EVERY == 0:
            update_statistics(self.model, batch, prediction)
        total = self._weighted(stage, prediction, batch)
        self.log("loss/total", total, prog_bar=True)
        return total

    def _weighted(self, stage: StageSettings, prediction: Prediction, batch: Batch) -> Tensor:
        total = prediction.x.new_zeros(())
        for name, weight in stage.losses.items():
            error = self._force_error() if name == FORCES else self.losses[name](prediction, batch)
            value = error.mean()
            self.log(f"loss/{name}", value)
            total = total + weight * value
        return total

    def _force_error(self) -> Tensor:
        """Errors of the forces of the frames that this update draws."""
        assert self.force_frames is not None
        seed = self._seed("frames", self.global_step)
        frames = self.force_frames.draw(self.settings.data.batch_size, seed)
        return force_error(self.model, frames.to(self.device))

    def on_after_backward(self) -> None:
        """Measure the growth of the gradient along the roll-out."""
        if self._growth.log_growth:
            self.damping.update(self._growth)
            self.log("gradient/log_growth", self._growth.mean())
            self.log("gradient/damping", self.damping.factor)

    def configure_gradient_clipping(self, *arguments: Any, **options: Any) -> None:
        """Scale large gradients down; leave out those that are not finite, and count them."""
        norm = nn.utils.clip_grad_norm_(self.parameters(), self.settings.max_gradient_norm)
        if not norm.isfinite():
            self.skipped += 1
            for parameter in self.parameters():
                parameter.grad = None
        self.log("gradient/norm", norm)
        self.log("gradient/skipped", float(self.skipped))

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
        """Keep what is neither a weight nor the optimizer's."""
        checkpoint["damping_log_growth"] = self.damping.log_growth
        checkpoint["skipped"] = self.skipped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        self.damping.log_growth = checkpoint["damping_log_growth"]
        self.skipped = checkpoint["skipped"]

    def _seed(self, what: str, number: int) -> int:
        """Seed of the noise, another one for each process; far from those of other updates."""
        text = f"{self.settings.seed} {what} {number} {self.global_rank}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) // 2
