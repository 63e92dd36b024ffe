"""What is trained and how: the LightningModule. It knows no concrete network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric, MetricCollection

from esc_sr.inference.enlarge import enlarge
from esc_sr.training.callbacks.non_finite import NonFiniteGuard
from esc_sr.training.step import BatchLosses, stop_training


class SRLightningModule(L.LightningModule):
    """Train a super-resolution network by steps.

    Logs `train/loss`, `train/loss/<term>`, `val/<set>/<metric>` and their mean over the sets,
    `val/<metric>`. A trainer without a `NonFiniteGuard` gets one, that stops.

    Args:
        network: Maps `(B, 3, H, W)` in [0, 1] to `(B, 3, s·H, s·W)`.
        loss: Maps (sr, gt) to a dict of weighted terms; their sum is minimised.
        optimizer: Maps parameters to an optimizer.
        scheduler: Maps the optimizer to a scheduler stepped after every optimizer step; None: the
            learning rate stays.
        metrics: Metrics of validation by the name they are logged with.
        compile: Compile the network for training steps. Validation images come in every size and
            run uncompiled.
        config: The run's resolved configuration, plain values, recorded in checkpoints.

    Attributes:
        step_losses: Of the batches of the present optimizer step, for callbacks that look at them.
        step_is_taken: False: a callback has taken back the present optimizer step.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        metrics: Mapping[str, Metric] | None = None,
        compile: bool = False,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.metric_templates = dict(metrics or {})
        self.compile_network = compile
        self.config = config or {}
        self.val_metrics = nn.ModuleDict()
        self.step_losses: list[BatchLosses] = []
        self.step_is_taken = True

    @property
    def val_names(self) -> list[str]:
        """Names of the validation sets, in the order of their loaders."""
        return self.trainer.datamodule.val_names  # pyright: ignore[reportAttributeAccessIssue]

    def setup(self, stage: str) -> None:
        """Give every validation set metrics of its own."""
        for name in self.val_names:
            if name not in self.val_metrics:
                self.val_metrics[name] = MetricCollection(
                    {key: metric.clone() for key, metric in self.metric_templates.items()},
                    compute_groups=False,
                )

    def configure_callbacks(self) -> list[Callback]:
        """Leave no training unguarded: what is not finite must not reach the weights."""
        callbacks: list[Callback] = self.trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        guarded = any(isinstance(callback, NonFiniteGuard) for callback in callbacks)
        return [] if guarded else [NonFiniteGuard()]

    def on_fit_start(self) -> None:
        """Compile in place, after the averaging callback has made its copy.

        For fixed sizes: training crops have one, and inductor of torch 2.13 fails on the backward
        pass of dynamic ones.
        """
        if self.compile_network:
            self.network.compile(dynamic=False)

    def forward(self, lq: Tensor) -> Tensor:
        """Enlarge `(B, 3, H, W)` in [0, 1]."""
        return self.network(lq)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the sum of the loss terms."""
        sr = self.network(batch["lq"])
        terms: dict[str, Tensor] = self.loss(sr, batch["gt"])
        total = torch.stack(list(terms.values())).sum()
        self.log("train/loss", total, prog_bar=True)
        for name, term in terms.items():
            self.log(f"train/loss/{name}", term)
        told = {name: term.detach() for name, term in terms.items()}
        names = tuple(str(name) for name in batch.get("name", ()))
        self.step_losses.append(BatchLosses(names, told, total.detach()))
        return total

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Forget the losses of a step that is complete."""
        if not self.trainer.fit_loop._should_accumulate():
            self.step_losses.clear()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Begin a step that will be taken, unless a callback says otherwise."""
        self.step_is_taken = True

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Go on with the schedule, if the optimizer has gone on."""
        if self.step_is_taken:
            super().lr_scheduler_step(scheduler, metric)

    def validation_step(
        self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Any]:
        """Enlarge whole images, measure them and hand them to the callbacks."""
        # The uncompiled forward: every image has another size.
        sr = enlarge(self.network, batch["lq"], forward=self.network.forward)
        if not torch.isfinite(sr).all():
            # Before the checkpoint callbacks overwrite what was good.
            image = f"the output for validation image '{batch['name'][0]}'"
            stop_training(self.trainer, f"{image} is not finite at step {self.global_step}")
        metrics = self.val_metrics[self.val_names[dataloader_idx]]
        assert isinstance(metrics, MetricCollection)
        metrics.update(sr, batch["gt"])
        return {"sr": sr, "lq": batch["lq"], "gt": batch["gt"], "name": batch["name"]}

    def on_validation_epoch_end(self) -> None:
        """Log `val/<set>/<metric>`, and `val/<metric>`, the mean over the sets."""
        by_metric: dict[str, list[Tensor]] = {}
        for name, metrics in self.val_metrics.items():
            assert isinstance(metrics, MetricCollection)
            for key, value in metrics.compute().items():
                alone = len(self.val_metrics) == 1
                self.log(f"val/{name}/{key}", value, prog_bar=alone, sync_dist=True)
                by_metric.setdefault(key, []).append(value)
            metrics.reset()
        for key, values in by_metric.items():
            mean = torch.stack(values).mean()
            self.log(f"val/{key}", mean, prog_bar=len(values) > 1, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Build the optimizer and a scheduler stepped by optimizer steps."""
        optimizer = self.optimizer_factory(self.network.parameters())
        if self.scheduler_factory is None:
            return optimizer
        scheduler = self.scheduler_factory(optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record what is needed to rebuild the network and the run, as plain values."""
        checkpoint["network_config"] = getattr(self.network, "config", None)
        checkpoint["run_config"] = self.config
