"""Keep NaN and infinity out of the weights."""

from __future__ import annotations

import logging
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from torch import Tensor
from torch.optim import Optimizer

from esc_sr.errors import InputError, check_integers
from esc_sr.training.step import (
    BatchLosses,
    gradient_norm,
    listed,
    of_all_processes,
    stop_training,
)

_log = logging.getLogger(__name__)
_KEPT = "last_good_state"
_POLICIES = ("stop", "skip", "restore")


class NonFiniteGuard(Callback):
    """Look at the losses and the gradient before each optimizer step; log `train/grad_norm`.

    The norm is that of the gradient as the step would take it: of all accumulated batches, averaged
    over processes, without the loss scale of float16, before clipping.

    Where a loss or the norm is not finite the step is not taken, whatever the policy: weights,
    moments, average and schedule stay, and it is not counted as an optimizer step, so that a run
    has as many as it was asked for. The batch counts as seen. All processes decide the same. What
    float16 training does by itself is left to it: steps whose gradient overflows while the loss
    scale can still be lowered are skipped and counted by Lightning.

    A look costs no more waiting for the device than one number read from it does.

    Args:
        policy: "stop" ends training with an error; "skip" goes on with the next batch; "restore"
            also puts weights, moments and average back to a state that was kept in memory, and
            goes on with data and schedule where they are.
        limit: Steps in a row, or of "restore" since the state was kept, after which training stops
            after all.
        keep_every: Optimizer steps between two states that "restore" keeps, which are as large as a
            checkpoint. A checkpoint written between two holds the state too.

    Raises:
        InputError: A value is out of range.
    """

    def __init__(
        self,
        *,
        policy: Literal["stop", "skip", "restore"] = "stop",
        limit: int = 10,
        keep_every: int = 100,
    ) -> None:
        super().__init__()
        if policy not in _POLICIES:
            raise InputError(
                f"callbacks.guard.policy must be one of {', '.join(_POLICIES)}, got {policy!r}"
            )
        check_integers(
            1, **{"callbacks.guard.limit": limit, "callbacks.guard.keep_every": keep_every}
        )
        self.policy = policy
        self.limit = limit
        self.keep_every = keep_every
        self._in_a_row = 0
        self._not_taken = False  # the last step
        self._kept: dict[str, Any] | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the state, if it is time to."""
        self._settle(trainer)
        if self.policy == "restore" and self._is_due(trainer):
            self._kept = _state(trainer, pl_module)
            self._in_a_row = 0

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Look, and act.

        Raises:
            NonFiniteError: Something is not finite, and the policy or the limit says to stop.
        """
        batches: list[BatchLosses] = getattr(pl_module, "step_losses", [])
        norm = gradient_norm(trainer, pl_module)
        pl_module.log("train/grad_norm", norm)
        losses = torch.stack([batch.total.float() for batch in batches] or [norm.new_zeros(())])
        broken = torch.stack([~losses.isfinite().all(), ~norm.isfinite()]).float()
        if trainer.world_size > 1:
            broken = trainer.strategy.reduce(broken, reduce_op="sum")
        loss_is_broken, norm_is_broken = (count > 0 for count in broken.tolist())
        if not loss_is_broken and (not norm_is_broken or _scale_can_fall(trainer)):
            if self.policy != "restore":
                self._in_a_row = 0
            return
        what = _described(trainer, batches, norm)
        self._in_a_row += 1
        if self.policy == "stop":
            stop_training(trainer, what)
        if self._in_a_row > self.limit:
            since = "in a row" if self.policy == "skip" else "since a state was kept"
            stop_training(trainer, f"{what}, after {self.limit} others {since}")
        if trainer.is_global_zero:
            back = "" if self._kept is None else f", back to the state of step {self._kept['step']}"
            _log.warning("%s: the step is not taken%s", what, back)
        self._take_no_step(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Go back, if the step was not taken and there is something to go back to."""
        if self._not_taken and self._kept is not None:
            _restore(trainer, pl_module, self._kept)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the last checkpoint know the right number of steps."""
        self._settle(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on in the same way."""
        return {"in_a_row": self._in_a_row, "not_taken": self._not_taken}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on as a checkpoint says.

        Args:
            state_dict: What `state_dict` returned.
        """
        self._in_a_row = int(state_dict["in_a_row"])
        self._not_taken = bool(state_dict["not_taken"])

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the kept state into a checkpoint that does not hold the same anyway."""
        if self._kept is not None and not self._is_due(trainer):
            checkpoint[_KEPT] = self._kept

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take the kept state from a checkpoint."""
        if self.policy == "restore":
            self._kept = checkpoint.get(_KEPT)

    def _is_due(self, trainer: L.Trainer) -> bool:
        if self._kept is None:
            return True
        step = trainer.global_step
        return step % self.keep_every == 0 and step != self._kept["step"]

    def _take_no_step(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the optimizer find nothing to do, and Lightning count what it did not do."""
        self._not_taken = True
        pl_module.step_is_taken = False  # pyright: ignore[reportArgumentType]
        for parameter in pl_module.parameters():
            parameter.grad = None
        progress = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress
        for count in (progress.optimizer.step.total, progress.optimizer.step.current):
            count.ready -= 1
            count.completed -= 1  # Lightning adds one when the optimizer returns

    def _settle(self, trainer: L.Trainer) -> None:
        """Take back the step of the loggers, which Lightning counts behind the last hook."""
        if self._not_taken:
            trainer.fit_loop.epoch_loop._batches_that_stepped -= 1
            self._not_taken = False


def _scale_can_fall(trainer: L.Trainer) -> bool:
    """Return whether the loss is scaled, by a factor that has not long ceased to be the cause."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return scaler is not None and scaler.get_scale() >= 1


def _described(trainer: L.Trainer, batches: list[BatchLosses], norm: Tensor) -> str:
    """Say what is not finite, at which step, and what the batches were."""
    what, names = None, [name for batch in batches for name in batch.names]
    for batch in batches:
        if not torch.isfinite(batch.total):
            broken = [name for name, term in batch.terms.items() if not torch.isfinite(term)]
            value = (batch.terms[broken[0]] if broken else batch.total).item()
            what, names = f"loss term '{broken[0] if broken else 'sum'}' is {value}", batch.names
            break
    told = of_all_processes(trainer, (what, list(names)))
    culprits = [one for one in told if one[0] is not None] or told
    what = culprits[0][0] or f"the gradient norm is {norm.item()}"
    names = [name for _, of_rank in culprits for name in of_rank]
    of_batch = f" in a batch of {listed(names)}" if names else ""
    return f"{what} at step {trainer.global_step}{of_batch}"


def _state(trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
    """Copy what an optimizer step changes."""
    return {
        "step": trainer.global_step,
        "module": _copied(pl_module.state_dict()),
        "optimizers": [_copied(one.state_dict()["state"]) for one in trainer.optimizers],
        "averages": [_copied(average.state_dict()) for average in _averages(trainer)],
    }


def _restore(trainer: L.Trainer, pl_module: L.LightningModule, kept: dict[str, Any]) -> None:
    pl_module.load_state_dict(kept["module"])
    for optimizer, state in zip(trainer.optimizers, kept["optimizers"], strict=True):
        # Learning rates stay the schedule's. A copy: the optimizer works on what it is given.
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": _copied(state), "param_groups": groups})
    for average, state in zip(_averages(trainer), kept["averages"], strict=True):
        average.load_state_dict(state)


def _averages(trainer: L.Trainer) -> list[torch.nn.Module]:
    averages = [
        one._average_model for one in _callbacks(trainer) if isinstance(one, WeightAveraging)
    ]
    return [one for one in averages if one is not None]


def _callbacks(trainer: L.Trainer) -> list[Callback]:
    return trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return value
