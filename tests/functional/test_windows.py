import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from esc_sr.functional.windows import crop, from_windows, pad_to_multiple, reflect_pad, to_windows

SIDES = st.integers(1, 40)
WINDOWS = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(batch=st.integers(1, 3), height=SIDES, width=SIDES, window=WINDOWS)
def test_padding_gives_the_next_multiple_and_keeps_the_image(batch, height, width, window):
    x = torch.randn(batch, 2, height, width)
    padded = pad_to_multiple(x, window)
    assert padded.shape[-2] == -(-height // window[0]) * window[0]
    assert padded.shape[-1] == -(-width // window[1]) * window[1]
    assert torch.equal(padded[..., :height, :width], x)


@given(height=SIDES, width=SIDES, window=WINDOWS)
def test_padding_mirrors_about_the_last_pixel_again_and_again(height, width, window):
    x = torch.arange(height * width, dtype=torch.float64).reshape(1, 1, height, width)
    padded = pad_to_multiple(x, window)[0, 0]

    def mirrored(position: int, side: int) -> int:
        while not 0 <= position < side:
            if side == 1:
                return 0
            position = -position if position < 0 else 2 * (side - 1) - position
        return position

    for i in range(padded.shape[0]):
        for j in range(padded.shape[1]):
            assert padded[i, j] == x[0, 0, mirrored(i, height), mirrored(j, width)]


def test_padding_equals_torch_reflection_where_torch_can():
    x = torch.randn(2, 3, 19, 22)
    expected = F.pad(x, (0, 2, 0, 5), mode="reflect")
    assert torch.equal(pad_to_multiple(x, (8, 8)), expected)


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 3, 0, 4)])
def test_padding_refuses_what_is_no_batch_of_images(shape):
    with pytest.raises(ValueError, match="B, C, H, W"):
        pad_to_multiple(torch.zeros(shape), (4, 4))


@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_windows_round_trip(batch, heads, rows, columns, window):
    size = (rows * window[0], columns * window[1])
    x = torch.randn(batch, heads * 4, *size)
    windows = to_windows(x, window, heads)
    assert windows.shape == (batch * rows * columns, heads, window[0] * window[1], 4)
    assert torch.equal(from_windows(windows, window, size), x)


def test_windows_are_row_major_and_heads_are_runs_of_channels():
    x = torch.arange(2 * 4 * 4).reshape(1, 2, 4, 4)
    windows = to_windows(x, (2, 2), 2)
    assert windows[1, 0, :, 0].tolist() == [2, 3, 6, 7]  # second window of the first row
    assert windows[2, 1, :, 0].tolist() == [24, 25, 28, 29]  # second row, second head


def test_a_program_for_any_size_pads_and_crops_the_same():
    class PadAndCrop(torch.nn.Module):
        def forward(self, x):
            height, width = x.shape[-2:]
            padded = reflect_pad(pad_to_multiple(x, (4, 3)), 9)
            return padded, crop(padded, height, width)

    sides = {2: torch.export.Dim("height", min=1), 3: torch.export.Dim("width", min=1)}
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        program = torch.export.export(
            PadAndCrop(), (torch.rand(1, 2, 7, 8),), dynamic_shapes=(sides,), strict=False
        )
    for size in [(1, 1), (2, 3), (4, 3), (5, 1), (13, 22)]:
        x = torch.rand(1, 2, *size)
        for found, expected in zip(program.module()(x), PadAndCrop()(x), strict=True):
            assert torch.equal(found, expected)
