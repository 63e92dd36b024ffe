import pytest

from esc_sr.data.names import core, match_names, match_results
from esc_sr.errors import InputError


@pytest.mark.parametrize(
    ("gt", "lq"),
    [
        ("baby.png", "babyx2.png"),
        ("baby.bmp", "baby_x2.png"),
        ("baby.png", "baby_LRBI_x2.png"),
        ("baby.png", "baby.bmp"),
        ("baby.png", "BABYX2.PNG"),
        ("Baby.PNG", "baby_LR.jpg"),
        ("baby_HR.png", "baby_LR.png"),
        ("baby_HR.png", "baby_LR_x2.png"),
        ("baby_GT.png", "babyx2.png"),
        ("baby_HR.png", "baby_HRx2.png"),
        ("img_001_SRF_2_HR.png", "img_001_SRF_2_LR.png"),
        ("img_001_SRF_2.png", "img_001_SRF_2_LR.png"),
        ("0801.png", "0801x2.png"),
        ("baby_HR_x2.png", "baby_LRBI_x2.png"),
        ("baby_HR_x2.png", "baby_LR_x2.png"),
        ("baby.png", "baby_bicLRx2.png"),
        ("img_001.png", "img_001_SRF_2_LR.png"),
        ("img_001_SRF_2_HR.png", "img_001x2.png"),
    ],
)
def test_lq_names_in_the_wild(gt, lq):
    others = ["other.png", "babyx3.png", "0801x4.png", "img_001_SRF_4_LR.png"]
    assert match_names([gt], [*others, lq], 2, "lq") == [lq]


def test_a_name_with_the_scale_wins():
    names = ["baby.png", "baby_x2.png", "babyx2.png"]
    assert match_names(["baby.png"], names, 2, "lq") == ["babyx2.png"]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_extensions_the_first_in_the_alphabet_wins(order):
    assert match_names(["a.png"], ["ax2.bmp", "ax2.png"][::order], 2, "lq") == ["ax2.bmp"]


def test_another_scale_in_the_folder_is_noticed():
    with pytest.raises(InputError, match=r"the folder holds ×4: mend scale or lq_dir"):
        match_names(["Baby_HR.png"], ["babyx4.png"], 2, "lq")
    with pytest.raises(InputError, match=r"1 of 1 .* in lq: a.png; expected e.g. ax2.png"):
        match_names(["a.png"], [], 2, "lq")


@pytest.mark.parametrize(
    "sr",
    [
        "baby.png",
        "babyx4.bmp",
        "baby_x4.png",
        "BABY_SR.PNG",
        "baby_x4_SR.png",
        "baby_ESC.png",
        "babyx4_out.png",
        "baby-enhanced.webp",
        "baby_LRBI_x4.png",
    ],
)
def test_names_of_results(sr):
    assert match_results(["baby.png"], ["bird.png", sr], 4, "sr") == [sr]
    assert match_results(["baby_HR.png"], ["bird.png", sr], 4, "sr") == [sr]


def test_longer_names_take_theirs_first():
    results = ["baby_2_ESC.png", "baby_ESC.png", "baby_10_ESC.png"]
    found = match_results(["baby.png", "baby_10.png", "baby_2.png"], results, 4, "sr")
    assert found == ["baby_ESC.png", "baby_10_ESC.png", "baby_2_ESC.png"]


def test_results_that_fit_as_well_are_not_guessed():
    with pytest.raises(InputError, match=r"several images in sr could be the result of baby.png"):
        match_results(["baby.png"], ["baby_A.png", "baby_B.png"], 4, "sr")


def test_of_two_extensions_of_a_result_none_is_guessed():
    with pytest.raises(InputError, match=r"sr has both baby.bmp and baby.png; leave one"):
        match_results(["baby.png"], ["baby.png", "baby.bmp"], 4, "sr")


def test_the_scale_in_the_name_of_gt_may_be_missing_in_that_of_the_result():
    assert match_results(["img_001_SRF_4_HR.png"], ["img_001.png"], 4, "sr") == ["img_001.png"]
    assert match_results(["baby_HR_x4.png"], ["baby_RCAN_x4.png"], 4, "sr") == ["baby_RCAN_x4.png"]


def test_missing_results_are_named():
    with pytest.raises(InputError, match=r"2 of 3 images have no result in sr: b.png, c.png; "):
        match_results(["a.png", "b.png", "c.png"], ["a.png"], 4, "sr")


def test_core_drops_only_what_marks_gt():
    names = ["a_HR.png", "a.png", "hr.png", "a_gt.bmp", "a_HR_x2.png", "a_x2.png"]
    assert [core(name) for name in names] == ["a", "a", "hr", "a", "a", "a_x2"]
