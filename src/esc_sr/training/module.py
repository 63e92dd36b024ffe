"""What is trained and how: the LightningModule. It knows no concrete network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric, MetricCollection

from esc_sr.errors import InputError
from esc_sr.inference.enlarge import enlarge


class NonFiniteError(InputError):
    """A loss term or a gradient became NaN or infinite; training stops."""


class SRLightningModule(L.LightningModule):
    """Train a super-resolution network by steps.

    Logs `train/loss`, `train/loss/<term>`, `train/grad_norm`, `val/<set>/<metric>` and their mean
    over the sets, `val/<metric>`.

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
        """Return the sum of the loss terms; stop if one is not finite."""
        sr = self.network(batch["lq"])
        terms: dict[str, Tensor] = self.loss(sr, batch["gt"])
        total = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(total):
            broken = [name for name, term in terms.items() if not torch.isfinite(term)]
            value = (terms[broken[0]] if broken else total).item()
            self._stop(f"loss term '{broken[0] if broken else 'sum'}' is {value}")
        self.log("train/loss", total, prog_bar=True)
        for name, term in terms.items():
            self.log(f"train/loss/{name}", term)
        return total

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Stop before a gradient that is not finite reaches the weights."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        self.log("train/grad_norm", norm)
        # float16 training scales the loss and skips such steps itself.
        if self.trainer.precision != "16-mixed" and not torch.isfinite(norm):
            self._stop(f"the gradient norm is {norm.item()}")

    def _stop(self, what: str) -> None:
        paths = [getattr(c, "best_model_path", "") for c in self.trainer.checkpoint_callbacks]
        # The one to resume from, rather than the best one.
        written = sorted((path for path in paths if path), key=lambda path: "last" not in path)
        kept = f"the last good checkpoint is {written[0]}" if written else "no checkpoint yet"
        raise NonFiniteError(
            f"{what} at step {self.global_step}: training stopped, {kept}; "
            "try a lower optimizer.lr, trainer.gradient_clip_val=0.5 or trainer.precision=32-true"
        )

    def validation_step(
        self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Any]:
        """Enlarge whole images, measure them and hand them to the callbacks."""
        # The uncompiled forward: every image has another size.
        sr = enlarge(self.network, batch["lq"], forward=self.network.forward)
        if not torch.isfinite(sr).all():
            # Before the checkpoint callbacks overwrite what was good.
            self._stop(f"the output for validation image '{batch['name'][0]}' is not finite")
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
