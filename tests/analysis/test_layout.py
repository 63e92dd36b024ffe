import pytest
import torch

from esc_sr.analysis.layout import as_map, choose_positions, image_examples, pixel_examples
from esc_sr.errors import InputError


@pytest.mark.parametrize(
    "shape",
    [(2, 5, 6, 8), (2, 6, 8, 5), (2, 48, 5), (2, 5, 12, 16), (2, 12, 16, 5), (2, 192, 5)],
)
def test_channels_come_first_whatever_the_layout(shape):
    found = as_map(torch.rand(shape), (6, 8), layer="a")
    assert found.shape[:2] == (2, 5)
    assert found.shape[2:] in {(6, 8), (12, 16)}


def test_tokens_are_rows_of_pixels():
    image = torch.rand(2, 5, 6, 8)
    tokens = image.flatten(2).movedim(1, 2)
    assert torch.equal(as_map(tokens, (6, 8), layer="a"), image)
    assert torch.equal(as_map(image.movedim(1, 3), (6, 8), layer="a"), image)


@pytest.mark.parametrize("shape", [(2, 5), (2, 47, 5), (2, 5, 6, 8, 1)])
def test_what_is_no_map_is_refused_by_name(shape):
    with pytest.raises(InputError, match=r"'some\.layer' gives .* no map over it"):
        as_map(torch.rand(shape), (6, 8), layer="some.layer")


def test_places_are_drawn_once_and_by_the_seed():
    def draw(seed, num_pixels=20):
        generator = torch.Generator().manual_seed(seed)
        return choose_positions(2, (4, 6), num_pixels, generator)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    everywhere = draw(0, 1000)
    assert len(everywhere) == len({tuple(p) for p in everywhere.tolist()}) == 48
    assert everywhere.amax(0).tolist() == [1, 3, 5]


def test_places_are_found_in_maps_of_other_sizes():
    rows = torch.arange(4.0)[:, None].expand(4, 6)
    columns = torch.arange(6.0).expand(4, 6)
    base = torch.stack([rows, columns])[None]
    positions = torch.tensor([[0, 0, 0], [0, 3, 5], [0, 1, 4]])
    expected = positions[:, 1:].float()
    assert torch.equal(pixel_examples(base, positions, (4, 6), layer="a"), expected)
    enlarged = base.repeat_interleave(3, -1).repeat_interleave(3, -2)
    assert torch.equal(pixel_examples(enlarged, positions, (4, 6), layer="a"), expected)
    reduced = base[..., ::2, ::2]
    found = pixel_examples(reduced, positions, (4, 6), layer="a")
    assert found.tolist() == [[0, 0], [2, 4], [0, 4]]


def test_padded_maps_are_refused_by_name():
    with pytest.raises(InputError, match=r"'padded' gives 8×8 .* image of 6×6.*set crop"):
        pixel_examples(torch.rand(1, 2, 8, 8), torch.zeros(1, 3).long(), (6, 6), layer="padded")
    assert image_examples(torch.rand(3, 2, 8, 8)).shape == (3, 128)
