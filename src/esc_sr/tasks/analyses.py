"""The kinds of `esc-sr analyze`: from networks and images to numbers, a table and pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from esc_sr.analysis.attention_maps import layers_with_maps
from esc_sr.analysis.attribution import Window, check_window, local_attribution, middle_window
from esc_sr.analysis.cka import FEWEST
from esc_sr.analysis.features import choose_layers, matches, stages
from esc_sr.analysis.figures import (
    LamRow,
    erf_figure,
    kernels_figure,
    lam_figure,
    similarity_figure,
    spectrum_figure,
)
from esc_sr.analysis.kernels import (
    dynamic_kernels,
    image_dependence,
    kernel_spectrum,
    kernel_strength,
    outer_share,
    shared_large_kernel,
)
from esc_sr.analysis.receptive_field import areas, effective_receptive_field, reach
from esc_sr.analysis.similarity import Similarity, feature_similarity, map_similarity
from esc_sr.analysis.spectrum import feature_spectra
from esc_sr.errors import InputError
from esc_sr.tasks.analyze_inputs import Images, Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIMILAR_IMAGES = 8  # in a batch, where images are the examples


@dataclass
class Outcome:
    """What an analysis has found.

    Attributes:
        table: The summary.
        numbers: Plain values for JSON.
        arrays: For a `.npz`.
        pictures: What draws each of them, by the name of its file.
        notes: Sentences for the reader.
    """

    table: Table
    numbers: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Callable[[], Figure]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Work:
    """What an analysis starts from.

    Attributes:
        cfg: The configuration.
        subjects: One or two networks.
        images: To show them.
        start: Called with the number of steps, before the first.
        advance: Called after each step.
    """

    cfg: DictConfig
    subjects: Sequence[Subject]
    images: Images
    start: Callable[[int], None]
    advance: Callable[[], None]

    def batches(self) -> list[Tensor]:
        """Return the images in batches."""
        return list(self.images.lq.split(self.cfg.batch_size or 1))

    def layers(self) -> list[list[str]]:
        """Return the layers that are meant, of each network.

        Raises:
            InputError: A pattern matches in none of them, or all in none of one.
        """
        networks = [subject.network for subject in self.subjects]
        if self.cfg.layers is None:
            return [stages(network) for network in networks]
        patterns = [str(pattern) for pattern in self.cfg.layers]
        for pattern in patterns:
            if not any(matches(network, pattern) for network in networks):
                choose_layers(networks[0], [pattern])  # refuses it
        # Two networks may call their layers differently.
        known = [[one for one in patterns if matches(network, one)] for network in networks]
        return [
            choose_layers(network, own or patterns)
            for network, own in zip(networks, known, strict=True)
        ]


def similarity(work: Work) -> Outcome:
    """Compare layers by CKA or by where they look."""
    cfg, notes = work.cfg, []
    if cfg.measure == "attention":
        if cfg.layers is None:
            layers = [layers_with_maps(subject.network) for subject in work.subjects]
        else:
            layers = work.layers()
        for subject, own in zip(work.subjects, layers, strict=True):
            if not own:
                raise InputError(
                    f"{subject.name} has no layers with attention maps; measure=cka compares what "
                    "any layers compute"
                )
        batches = work.batches()
    else:
        layers, batches = work.layers(), _batches_of_examples(work)
        left_over = len(work.images.lq) - sum(map(len, batches))
        if left_over:
            notes.append(
                f"{left_over} images were left over: too few for a batch of "
                f"estimator={cfg.estimator}"
            )
    networks = [(subject.network, own) for subject, own in zip(work.subjects, layers, strict=True)]
    work.start(len(batches))
    if cfg.measure == "attention":
        found = map_similarity(networks, batches, on_batch=work.advance)
        label = "cosine of attention maps"
    else:
        found = feature_similarity(
            networks,
            batches,
            estimator=cfg.estimator,
            examples=cfg.examples,
            num_pixels=cfg.num_pixels,
            seed=cfg.seed,
            on_batch=work.advance,
        )
        label = f"CKA ({cfg.estimator}, {cfg.examples})"
    names = [subject.name for subject in work.subjects]
    titles = [*names, *([" × ".join(names)] if len(found) > len(names) else [])]
    if len(names) == 2 and len(found) == 2:
        notes.append("the windows of the two networks differ, so their maps do not compare")
    panels = dict(zip(titles, found, strict=True))
    table = _table(
        f"Similarity of layers: {label}", "network", "layers", "mean", "neighbours", "lowest", ""
    )
    for title, one in panels.items():
        value, pair = _lowest(one)
        shape = [len(one.layers_a), len(one.layers_b)]
        table.add_row(
            escape(title),
            str(shape[0]) if one.within else "×".join(map(str, shape)),
            _number(one.mean()),
            _number(one.neighbours()),
            _number(value),
            escape(pair),
        )
    notes.append("mean: of all pairs of different layers; neighbours: of each layer and the next")
    if any(one.matrix.isnan().any() for one in found):
        notes.append("layers that do not vary have no similarity; they are left out")
    numbers = {
        "measure": cfg.measure,
        "estimator": cfg.estimator if cfg.measure == "cka" else None,
        "examples": cfg.examples if cfg.measure == "cka" else None,
        "num_pixels": cfg.num_pixels if cfg.measure == "cka" else None,
        "similarities": [
            {
                "title": title,
                "within": one.within,
                "mean": _known(one.mean()),
                "neighbours": _known(one.neighbours()),
                "layers_a": one.layers_a,
                "layers_b": one.layers_b,
                "matrix": [[_known(value) for value in row] for row in one.matrix.tolist()],
            }
            for title, one in panels.items()
        ],
    }
    arrays = {f"matrix_{i}": one.matrix.numpy() for i, one in enumerate(found)}
    for i, one in enumerate(found):
        arrays |= {f"layers_a_{i}": np.array(one.layers_a), f"layers_b_{i}": np.array(one.layers_b)}
    draw = {"similarity": lambda: similarity_figure(panels, label=label)}
    return Outcome(table, numbers, arrays, draw, notes)


def lam(work: Work) -> Outcome:
    """Attribute a window of the result to pixels of the input."""
    cfg, lq = work.cfg, work.images.lq
    size = (lq.shape[-2], lq.shape[-1])
    window = middle_window(size) if cfg.window is None else Window(*cfg.window)
    check_window(window, size)
    work.start(len(lq) * len(work.subjects) * cfg.steps)
    names = [subject.name for subject in work.subjects]
    rows = []
    for name, image in zip(work.images.names, lq, strict=True):
        found = {
            subject.name: local_attribution(
                subject.network,
                image[None],
                window=window,
                steps=cfg.steps,
                sigma=cfg.sigma,
                on_step=work.advance,
            )
            for subject in work.subjects
        }
        rows.append(LamRow(name, image.cpu(), found))
    table = _table("Local attribution: diffusion index (DI)", "image", *names)
    for row in rows:
        cells = [f"{one.diffusion_index:.2f}" for one in row.attributions.values()]
        table.add_row(escape(row.title), *cells)
    means = {
        name: sum(row.attributions[name].diffusion_index for row in rows) / len(rows)
        for name in names
    }
    table.add_section()
    table.add_row("mean", *(f"{mean:.2f}" for mean in means.values()))
    worst = max(one.completeness_error for row in rows for one in row.attributions.values())
    numbers = {
        "window": {"top": window.top, "left": window.left, "side": window.side},
        "steps": cfg.steps,
        "sigma": cfg.sigma,
        "mean_diffusion_index": means,
        "attributions": [
            {
                "image": row.title,
                "network": name,
                "diffusion_index": one.diffusion_index,
                "start": one.start,
                "end": one.end,
                "completeness_error": one.completeness_error,
            }
            for row in rows
            for name, one in row.attributions.items()
        ],
    }
    arrays: dict[str, Any] = {"lq": lq.cpu().numpy()}
    for i, name in enumerate(names):
        arrays[f"attributions_{i}"] = np.stack(
            [row.attributions[name].attributions.numpy() for row in rows]
        )
    notes = [
        f"sums of attributions differ from the change along the path by {worst:.2%} at most"
        + ("; raise steps" if worst > 0.05 else "")
    ]
    return Outcome(table, numbers, arrays, {"lam": lambda: lam_figure(rows)}, notes)


def erf(work: Work) -> Outcome:
    """Measure what the middle pixel is made from."""
    cfg = work.cfg
    shares = [float(share) for share in cfg.shares]
    batches = work.batches()
    work.start(len(batches) * len(work.subjects))
    headings = [f"{100 * share:g} % side" for share in shares]
    table = _table("Effective receptive field, LQ pixels", "network", *headings, "reach")
    panels, numbers, arrays = {}, [], {}
    for i, subject in enumerate(work.subjects):
        found = effective_receptive_field(subject.network, batches, on_batch=work.advance)
        held = areas(found, shares)
        panels[subject.name] = found, held
        farthest = reach(found)
        table.add_row(escape(subject.name), *(str(area.side) for area in held), str(farthest))
        arrays[f"field_{i}"] = found.numpy()
        numbers.append(
            {
                "network": subject.name,
                "reach": farthest,
                "areas": [
                    {"share": area.share, "side": area.side, "pixels": area.pixels} for area in held
                ],
            }
        )
    notes = [
        "side: of the smallest square around the middle that holds the share; "
        f"crop={cfg.crop} is the most that can be seen"
    ]
    return Outcome(table, {"fields": numbers}, arrays, {"erf": lambda: erf_figure(panels)}, notes)


def kernels(work: Work) -> Outcome:
    """Look at the kernels of ConvAttn."""
    batches = work.batches()
    shared = [shared_large_kernel(subject.network) for subject in work.subjects]
    work.start(len(batches) * len(work.subjects))
    table = _table(
        "Kernels", "network", "shared", "outside 3×3", "dynamic kernels", "depend on the image"
    )
    numbers, arrays, pictures = [], {}, {}
    for i, (subject, kernel) in enumerate(zip(work.subjects, shared, strict=True)):
        made = dynamic_kernels(subject.network, batches, on_batch=work.advance)
        dependence = {name: image_dependence(of_layer) for name, of_layer in made.items()}
        strength, spectrum = kernel_strength(kernel), kernel_spectrum(kernel)
        mean = sum(dependence.values()) / len(dependence)
        side = kernel.shape[-1]
        table.add_row(
            escape(subject.name),
            f"{side}×{side}",
            f"{outer_share(kernel):.1%}",
            str(len(made)),
            f"{mean:.2g}",
        )
        numbers.append(
            {
                "network": subject.name,
                "shared_kernel": list(kernel.shape),
                "outer_share": outer_share(kernel),
                "mean_image_dependence": mean,
                "image_dependence": dependence,
            }
        )
        arrays |= {
            f"shared_kernel_{i}": kernel.numpy(),
            f"spectrum_{i}": spectrum.numpy(),
            f"layers_{i}": np.array(list(made)),
            f"dynamic_kernels_{i}": np.stack([of_layer.numpy() for of_layer in made.values()]),
        }
        # Numbered, because names that differ in signs alone would be one file.
        stem = "kernels" if len(work.subjects) == 1 else f"kernels_{i}_{_slug(subject.name)}"

        def draw(
            strength: Tensor = strength,
            spectrum: Tensor = spectrum,
            dependence: dict[str, float] = dependence,
            title: str = subject.name,
        ) -> Figure:
            return kernels_figure(strength, spectrum, dependence, title=title)

        pictures[stem] = draw
    notes = [
        "outside 3×3: share of the shared kernel's energy; depend on the image: variance of the "
        "dynamic kernels between images over their mean square, averaged over layers"
    ]
    if len(work.images.lq) == 1:
        notes.append("one image tells nothing about what depends on the image: raise num_images")
    return Outcome(table, {"kernels": numbers}, arrays, pictures, notes)


def spectrum(work: Work) -> Outcome:
    """Measure the frequencies in the features of each layer."""
    layers, batches = work.layers(), work.batches()
    work.start(len(batches) * len(work.subjects))
    table = _table("Spectra of features", "network", "layer", "high frequencies", "log-amplitude")
    panels, numbers, arrays = {}, [], {}
    for i, (subject, own) in enumerate(zip(work.subjects, layers, strict=True)):
        found = feature_spectra(subject.network, own, batches, on_batch=work.advance)
        panels[subject.name] = found
        for name, one in found.items():
            table.add_row(
                escape(subject.name),
                escape(name),
                f"{one.high_share:.1%}",
                f"{float(one.log_amplitude[-1]):.2f}",
            )
            arrays[f"frequencies_{i}_{name}"] = one.frequencies.numpy()
            arrays[f"log_amplitude_{i}_{name}"] = one.log_amplitude.numpy()
        table.add_section()
        numbers.append(
            {
                "network": subject.name,
                "layers": [
                    {
                        "layer": name,
                        "high_share": one.high_share,
                        "low_share": one.low_share,
                        "frequencies": one.frequencies.tolist(),
                        "log_amplitude": one.log_amplitude.tolist(),
                    }
                    for name, one in found.items()
                ],
            }
        )
    notes = [
        "high frequencies: share of the power above 0.25 cycles a pixel, means left out; "
        "log-amplitude: at 0.5 cycles a pixel, relative to the lowest frequency"
    ]
    draw = {"spectrum": lambda: spectrum_figure(panels)}
    return Outcome(table, {"spectra": numbers}, arrays, draw, notes)


KINDS: dict[str, Callable[[Work], Outcome]] = {
    "similarity": similarity,
    "lam": lam,
    "erf": erf,
    "kernels": kernels,
    "spectrum": spectrum,
}


def _batches_of_examples(work: Work) -> list[Tensor]:
    """Return batches with enough examples for the estimator."""
    cfg, lq = work.cfg, work.images.lq
    if cfg.examples == "pixels":
        return work.batches()
    fewest = FEWEST[cfg.estimator]
    batches = [one for one in lq.split(cfg.batch_size or _SIMILAR_IMAGES) if len(one) >= fewest]
    if not batches:
        raise InputError(
            f"examples=images with estimator={cfg.estimator} needs batches of at least {fewest} "
            f"images, got {min(len(lq), cfg.batch_size or len(lq))}; raise num_images or "
            "batch_size, or choose examples=pixels"
        )
    return batches


def _lowest(one: Similarity) -> tuple[float | None, str]:
    """Return the least similar layers."""
    values = one.matrix.nan_to_num(nan=math.inf)
    if not values.isfinite().any():
        return None, ""
    row, column = divmod(int(values.argmin()), values.shape[1])
    return float(values[row, column]), f"{one.layers_a[row]}, {one.layers_b[column]}"


def _table(title: str, *headings: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for i, heading in enumerate(headings):
        table.add_column(escape(heading), justify="right" if i else "left", overflow="fold")
    return table


def _known(value: float | None) -> float | None:
    """Return a number that JSON can hold."""
    return value if value is not None and math.isfinite(value) else None


def _number(value: float | None) -> str:
    return "–" if _known(value) is None else f"{value:.3f}"


def _slug(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", name).strip("_")
