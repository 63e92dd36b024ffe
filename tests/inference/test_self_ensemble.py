import torch
import torch.nn.functional as F

from esc_sr.functional.geometry import dihedral, dihedral_inverse
from esc_sr.inference.self_ensemble import self_ensemble


def uneven(lq):
    """Enlarges and treats no two directions alike."""
    kernel = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3).expand(3, 1, 3, 3) / 45
    return F.interpolate(F.conv2d(lq, kernel, padding=1, groups=3), scale_factor=2.0)


def test_it_is_the_mean_of_eight_turned_results():
    lq = torch.rand(2, 3, 5, 7)
    expected = torch.stack([dihedral_inverse(uneven(dihedral(lq, i)), i) for i in range(8)]).mean(0)
    assert torch.allclose(self_ensemble(uneven)(lq), expected, atol=1e-6)


def test_its_result_turns_with_the_image():
    lq, averaged = torch.rand(1, 3, 6, 6), self_ensemble(uneven)
    for index in range(8):
        turned = averaged(dihedral(lq, index))
        assert torch.allclose(turned, dihedral(averaged(lq), index), atol=1e-6)
    assert not torch.allclose(uneven(dihedral(lq, 1)), dihedral(uneven(lq), 1), atol=1e-3)


def test_what_forward_returns_is_not_written_to():
    lq = torch.rand(1, 3, 4, 4)
    before = lq.clone()
    self_ensemble(lambda x: x)(lq)
    assert torch.equal(lq, before)
