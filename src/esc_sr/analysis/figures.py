"""The pictures of the analyses; each function returns a figure that `drawing.save_figure` writes.

Layouts are in points, as in `drawing`. What stands side by side shares one colour scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from esc_sr.analysis.attribution import Attribution
from esc_sr.analysis.receptive_field import Area
from esc_sr.analysis.similarity import Similarity
from esc_sr.analysis.spectrum import Spectrum
from esc_sr.drawing import FONT_SIZE, add_axes, drawing_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_SIDE = 150.0  # of a heat map
_EDGE, _GAP, _TITLE, _AXIS = 8.0, 14.0, 14.0, 24.0
_BAR, _BAR_LABELS = 8.0, 34.0
_LETTER = 0.55 * FONT_SIZE  # width of a letter, on average
_LEGEND = 34.0
_MOST_LABELS = 24
_UNKNOWN = "#d9d9d9"
_WEAKEST = 1e-4  # of a field, relative to its maximum, that is still told apart


@dataclass(frozen=True)
class LamRow:
    """A row of the picture of attributions.

    Attributes:
        title: Of the image.
        lq: `(3, H, W)` in [0, 1].
        attributions: What each network makes of it, by the network's name.
    """

    title: str
    lq: Tensor
    attributions: Mapping[str, Attribution]


def similarity_figure(panels: Mapping[str, Similarity], *, label: str) -> Figure:
    """Draw matrices of similarities side by side.

    Args:
        panels: By title.
        label: Of the colour scale, from 0 to 1; below 0 counts as 0. Grey: not defined.
    """
    with drawing_style():
        shown = list(panels.values())
        left = [_LETTER * _longest(one.layers_a) + _EDGE for one in shown]
        bottom = _LETTER * max(_longest(one.layers_b) for one in shown) + _EDGE
        width = sum(left) + len(shown) * (_SIDE + _GAP) + _BAR + _BAR_LABELS
        figure = new_figure(width, bottom + _SIDE + _TITLE + _EDGE)
        x, image = 0.0, None
        for (title, one), before in zip(panels.items(), left, strict=True):
            axes = _framed(figure, x + before, bottom, title)
            image = axes.imshow(
                _array(one.matrix).clip(0), vmin=0, vmax=1, cmap="viridis", aspect="auto"
            )
            _name_layers(axes, one)
            x += before + _SIDE + _GAP
        assert image is not None
        _colour_bar(figure, image, x, bottom, label)
        return figure


def lam_figure(rows: Sequence[LamRow]) -> Figure:
    """Draw images with the window explained, and beside them what each network makes it from.

    Attributions are shown relative to the strongest of their map, by their square root, because a
    few pixels hold most of them.

    Args:
        rows: One an image; the same networks in each.
    """
    from matplotlib.patches import Rectangle

    with drawing_style():
        columns = 1 + len(rows[0].attributions)
        width = _EDGE + columns * (_SIDE + _GAP) + _BAR + _BAR_LABELS
        height = len(rows) * (_SIDE + _TITLE + _EDGE)
        figure = new_figure(width, height)
        shade = None
        for i, row in enumerate(rows):
            y = height - (i + 1) * (_SIDE + _TITLE + _EDGE) + _EDGE
            picture = _array(row.lq.movedim(0, 2)).clip(0, 1)
            for j, (name, one) in enumerate([("", None), *row.attributions.items()]):
                axes = _framed(figure, _EDGE + j * (_SIDE + _GAP), y, name)
                _no_ticks(axes)
                if one is None:
                    axes.set_title(row.title)
                    axes.imshow(picture, interpolation="nearest", aspect="equal")
                    # The same window for all, where each has its own copy of it.
                    window = next(iter(row.attributions.values())).window
                    corner, side = (window.left - 0.5, window.top - 0.5), window.side
                    axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="#d00000"))
                    continue
                axes.set_title(f"{name}   DI {one.diffusion_index:.2f}")
                axes.imshow(picture.mean(2), cmap="gray", vmin=0, vmax=1, aspect="equal")
                strength = np.sqrt(_array(one.pixels) / max(float(one.pixels.max()), 1e-30))
                shade = axes.imshow(
                    strength, cmap="inferno", vmin=0, vmax=1, alpha=0.75, aspect="equal"
                )
        assert shade is not None
        y = height - _SIDE - _TITLE
        _colour_bar(figure, shade, width - _BAR - _BAR_LABELS, y, "√ attribution, of the largest")
        return figure


def erf_figure(panels: Mapping[str, tuple[Tensor, Sequence[Area]]]) -> Figure:
    """Draw receptive fields side by side, with squares that hold shares; below, their sides.

    Args:
        panels: Field `(H, W)` and areas by title.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    with drawing_style():
        width = _EDGE + len(panels) * (_SIDE + _GAP) + _BAR + _BAR_LABELS
        figure = new_figure(width, _AXIS + _SIDE + _TITLE + _EDGE)
        x, image = _EDGE, None
        for title, (field, areas) in panels.items():
            axes = _framed(figure, x, _AXIS, title)
            _no_ticks(axes)
            strength = (_array(field) / float(field.max())).clip(_WEAKEST)
            norm = LogNorm(_WEAKEST, 1)
            image = axes.imshow(strength, norm=norm, cmap="inferno", aspect="equal")
            rows, columns = strength.shape
            for area in areas:
                low = rows // 2 - area.side / 2, columns // 2 - area.side / 2
                axes.add_patch(
                    Rectangle(
                        (low[1], low[0]), area.side, area.side, fill=False, edgecolor="#7fd4ff",
                        linewidth=0.6, clip_on=True,
                    )
                )  # fmt: skip
            told = "   ".join(f"{100 * area.share:g} %: {area.side}" for area in areas)
            axes.set_xlabel(told, labelpad=3)
            x += _SIDE + _GAP
        assert image is not None
        _colour_bar(figure, image, x, _AXIS, "gradient, of the largest")
        return figure


def kernels_figure(
    strength: Tensor, spectrum: Tensor, dependence: Mapping[str, float], *, title: str
) -> Figure:
    """Draw the shared kernel, what it passes, and how far dynamic kernels depend on the image.

    Args:
        strength: `(K, K)`, as `kernels.kernel_strength` returns it.
        spectrum: `(size, size)`, as `kernels.kernel_spectrum` returns it.
        dependence: For each layer, in [0, 1].
        title: Names the network.
    """
    with drawing_style():
        names = _LETTER * _longest(list(dependence)) + _EDGE
        left, bar = _EDGE + _AXIS, _BAR + _BAR_LABELS + _GAP
        width = 2 * (left + _SIDE + _EDGE + bar) + names + _SIDE + _EDGE
        figure = new_figure(width, _AXIS + _SIDE + _TITLE + _EDGE)
        half = (strength.shape[-1] - 1) // 2 + 0.5
        x = left
        axes = _framed(figure, x, _AXIS, f"{title}: shared kernel")
        image = axes.imshow(
            _array(strength), cmap="viridis", vmin=0, extent=(-half, half, half, -half)
        )
        axes.set_xlabel("pixels", labelpad=1)
        _colour_bar(figure, image, x + _SIDE + _EDGE, _AXIS, "root mean square")
        x += _SIDE + _EDGE + bar + left
        axes = _framed(figure, x, _AXIS, "what it passes")
        largest = max(float(spectrum.max()), 1e-30)
        decibels = 20 * np.log10(_array(spectrum).clip(largest * 1e-6) / largest)
        image = axes.imshow(decibels, cmap="magma", vmin=-40, vmax=0, extent=(-0.5, 0.5, 0.5, -0.5))
        axes.set_xlabel("cycles a pixel", labelpad=1)
        _colour_bar(figure, image, x + _SIDE + _EDGE, _AXIS, "dB, the largest is 0")
        x += _SIDE + _EDGE + bar + names
        axes = add_axes(figure, x, _AXIS, _SIDE, _SIDE)
        axes.set_title("dynamic kernels")
        axes.barh(range(len(dependence)), list(dependence.values()), color="#0072b2")
        axes.set_xlim(0, min(1.05 * max(dependence.values()), 1) or 1)
        axes.locator_params(axis="x", nbins=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
        axes.set_ylim(len(dependence) - 0.4, -0.6)
        axes.set_xlabel("variance between images / mean square", labelpad=1)
        axes.set_yticks(*_labelled(list(dependence)), fontsize=FONT_SIZE - 1)
        return figure


def spectrum_figure(panels: Mapping[str, Mapping[str, Spectrum]]) -> Figure:
    """Draw the log-amplitudes of layers over frequency, from the first (dark) to the last.

    Args:
        panels: Spectra by layer, by title.
    """
    from matplotlib import colormaps

    with drawing_style():
        left = _EDGE + _AXIS
        legends = [_LEGEND + _LETTER * _longest(list(spectra)) for spectra in panels.values()]
        figure = new_figure(
            sum(left + _SIDE + legend for legend in legends), _AXIS + _SIDE + _TITLE + _EDGE
        )
        x = left
        curves = [spectrum for spectra in panels.values() for spectrum in spectra.values()]
        low = min(float(spectrum.log_amplitude.min()) for spectrum in curves)
        high = max(float(spectrum.log_amplitude.max()) for spectrum in curves)
        margin = 0.05 * (high - low) or 1.0
        for (title, spectra), legend in zip(panels.items(), legends, strict=True):
            axes = add_axes(figure, x, _AXIS, _SIDE, _SIDE)
            axes.set_title(title)
            colours = colormaps["viridis"](np.linspace(0, 0.9, len(spectra)))
            shown = set(_labelled(list(spectra))[1])
            for (name, spectrum), colour in zip(spectra.items(), colours, strict=True):
                axes.plot(
                    _array(spectrum.frequencies),
                    _array(spectrum.log_amplitude),
                    color=colour,
                    linewidth=0.9,
                    label=name if name in shown else f"_{name}",
                )
            axes.set_xlim(0, 0.5)
            axes.set_ylim(low - margin, high + margin)
            axes.set_xlabel("cycles a pixel", labelpad=1)
            if x == left:
                axes.set_ylabel("log-amplitude, lowest = 0", labelpad=1)
            axes.legend(
                loc="center left",
                bbox_to_anchor=(1, 0.5),
                frameon=False,
                fontsize=FONT_SIZE - 1.5,
                handlelength=1,
                labelspacing=0.2,
            )
            x += _SIDE + legend + left
        return figure


def _framed(figure: Figure, x: float, y: float, title: str) -> Axes:
    """Add axes for an image."""
    axes = add_axes(figure, x, y, _SIDE, _SIDE)
    axes.grid(False)
    axes.set_facecolor(_UNKNOWN)
    axes.spines[["top", "right"]].set_visible(True)
    axes.set_title(title)
    return axes


def _no_ticks(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])


def _name_layers(axes: Axes, one: Similarity) -> None:
    axes.set_xticks(*_labelled(one.layers_b), rotation=90, fontsize=FONT_SIZE - 1)
    axes.set_yticks(*_labelled(one.layers_a), fontsize=FONT_SIZE - 1)


def _labelled(names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return places and names of as many as can be read."""
    step = -(-len(names) // _MOST_LABELS)
    return list(range(0, len(names), step)), list(names[::step])


def _longest(names: Sequence[str]) -> int:
    return max(map(len, names))


def _colour_bar(figure: Figure, image: AxesImage, x: float, y: float, label: str) -> None:
    bar = add_axes(figure, x, y, _BAR, _SIDE)
    bar.grid(False)
    figure.colorbar(image, cax=bar).set_label(label, labelpad=2)


def _array(values: Tensor) -> Any:
    return values.detach().cpu().double().numpy()
