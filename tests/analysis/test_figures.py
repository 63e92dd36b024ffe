import re

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib._pylab_helpers import Gcf

from esc_sr.analysis.attribution import Attribution, Window
from esc_sr.analysis.figures import (
    LamRow,
    erf_figure,
    kernels_figure,
    lam_figure,
    similarity_figure,
    spectrum_figure,
)
from esc_sr.analysis.receptive_field import areas
from esc_sr.analysis.similarity import Similarity
from esc_sr.analysis.spectrum import Spectrum
from esc_sr.drawing import save_figure


def similarity(rows=3, columns=3):
    names = [[f"blocks.{i}.attn" for i in range(n)] for n in (rows, columns)]
    return Similarity(
        *names, torch.linspace(-0.1, 1, rows * columns).reshape(rows, -1), within=False
    )


def attribution(strength=1.0):
    values = torch.zeros(3, 12, 12)
    values[:, 5:8, 4:9] = strength
    return Attribution(values, Window(5, 4, 3), 0.0, 1.0, 12.345)


def field():
    line = torch.tensor([1.0, 2, 4, 8, 4, 2, 1], dtype=torch.float64)
    return line[:, None] * line


def spectra(number=3):
    frequencies = torch.arange(1, 9) / 16
    return {
        f"blocks.{i}": Spectrum(frequencies, -(i + 1) * frequencies, 0.5) for i in range(number)
    }


DRAWN = {
    "similarity": lambda: similarity_figure(
        {"a.pth": similarity(), "b.pth": similarity(30, 5)}, label="CKA"
    ),
    "lam": lambda: lam_figure(
        [LamRow(name, torch.rand(3, 12, 12), {"a": attribution(), "b": attribution(2)})
         for name in ("cat", "dog")]
    ),
    "erf": lambda: erf_figure(dict.fromkeys("ab", (field(), areas(field())))),
    "kernels": lambda: kernels_figure(
        torch.rand(13, 13), torch.rand(64, 64) + 0.1, {"blocks.0.pconvs.0.plk": 0.4}, title="a"
    ),
    "spectrum": lambda: spectrum_figure({"a.pth": spectra(), "b.pth": spectra(40)}),
}  # fmt: skip
every_figure = pytest.mark.parametrize("name", DRAWN)


@every_figure
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_same_figure_gives_the_same_bytes(name, suffix, tmp_path):
    for i in range(2):
        torch.manual_seed(0)
        save_figure(DRAWN[name](), tmp_path / f"{i}.{suffix}")
    first, second = ((tmp_path / f"{i}.{suffix}").read_bytes() for i in range(2))
    assert first == second
    assert len(first) > 2000


@every_figure
def test_the_users_style_and_figures_are_left_alone(name):
    mpl.use("agg")  # else the first who looks for a backend changes the settings
    before = mpl.rcParams.copy()
    with mpl.rc_context({"image.cmap": "jet", "font.size": 30}):
        DRAWN[name]()
        assert mpl.rcParams["font.size"] == 30
    assert mpl.rcParams == before
    assert not Gcf.figs


@every_figure
def test_nothing_sticks_out_of_the_page(name):
    figure = DRAWN[name]()
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    tight = figure.get_tightbbox(renderer)
    assert min(tight.x0, tight.y0) >= 0
    assert tight.x1 * figure.dpi <= width
    assert tight.y1 * figure.dpi <= height


def test_matrices_share_one_colour_scale():
    figure = similarity_figure({"a": similarity(), "b": similarity()}, label="CKA")
    scales = [axes.images[0].get_clim() for axes in figure.axes if axes.images]
    assert scales[:2] == [(0, 1), (0, 1)]
    shown = figure.axes[0].images[0].get_array()
    assert shown.min() == 0  # below 0 counts as 0
    np.testing.assert_allclose(shown.max(), 1)


def test_text_stays_text(tmp_path):
    save_figure(DRAWN["lam"](), tmp_path / "lam.svg")
    text = (tmp_path / "lam.svg").read_text()
    assert re.search(r">a\s+DI 12\.3[45]<", text)
    assert ">cat<" in text
