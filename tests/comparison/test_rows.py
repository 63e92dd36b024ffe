import json

import pytest

from esc_sr.comparison.measured import borrow_quality, measured_comparison
from esc_sr.comparison.reading import filter_measurements, read_measurements, read_quality
from esc_sr.comparison.rows import published_comparison, snake
from esc_sr.errors import InputError
from esc_sr.published.table import published_row


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ESC-lt", "esc_lt"),
        ("esc_lt", "esc_lt"),
        ("esc_lt_x4", "esc_lt"),
        ("weights/ESC_lt_X4.pth", "esc_lt"),
        ("best.ckpt", "best"),
        ("HiT-SRF", "hit_srf"),
        ("swinir_light", "swinir_lt"),
        ("X4", "x4"),
        ("v1.2", "v1.2"),
    ],
)
def test_names_are_compared_in_snake_case_without_scale(name, expected):
    assert snake(name, 4) == expected


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_published_rows_are_what_was_printed(scale):
    rows = published_comparison(scale)
    assert len(rows) == 15
    assert rows[0].network == "bicubic"
    assert rows[0].latency_ms is rows[0].memory is rows[0].macs_g is rows[0].params_k is None
    for row in rows:
        printed = published_row(f"{row.network.lower().replace('-', '_')}_x{scale}")
        assert (row.origin, row.quality_origin, row.memory_unit) == ("published", "published", "MB")
        assert (row.latency_ms, row.memory) == (printed.latency_ms, printed.memory_mb)
        assert (row.macs_g, row.params_k) == (printed.gflops, printed.params_k)
        assert set(row.sets) == set(printed.sets)
        assert row.where == printed.source


def test_networks_are_chosen_by_any_of_their_names_in_the_order_printed():
    rows = published_comparison(4, ["ESC", "esc_lt", "atd-lt", "esc_fp_x4"])
    assert [row.network for row in rows] == ["ATD-lt", "ESC-FP", "ESC-lt", "ESC"]


@pytest.mark.parametrize(
    ("scale", "networks", "message"),
    [
        (5, None, "nothing is published at ×5, only at ×2, ×3, ×4"),
        (4, ["esc_ltt"], "no published network 'esc_ltt'; did you mean esc_lt"),
        (4, ["vgg"], "no published network 'vgg'; there are bicubic, swinir_lt"),
    ],
)
def test_what_is_not_published_is_told_in_one_line(scale, networks, message):
    with pytest.raises(InputError, match=message) as caught:
        published_comparison(scale, networks)
    assert "\n" not in str(caught.value)


def test_a_record_becomes_a_row_with_its_conditions(measured, record):
    (row,) = measured([record()])
    assert (row.network, row.name, row.kind, row.origin) == ("esc_lt", "esc_lt", "esc", "measured")
    assert (row.latency_ms, row.memory, row.memory_unit) == (2000.0, 900.0, "MiB")
    assert (row.macs_g, row.params_k, row.quality_origin) == (91.2, 624.372, None)
    assert row.standard_size
    for words in ("Some CPU, 2 threads, sdpa, fp32", "torch 2.13.0", "esc_sr 0.1.0", "1280×720"):
        assert words in row.where
    assert "median of 3 passes after 1 for warm-up" in row.where
    assert "resident memory" in row.where


def test_labels_say_what_differs_and_only_that(measured, record):
    rows = measured(
        [
            record(),
            record(attention="eager", precision="bf16"),
            record(network="bicubic", attention=None),
        ]
    )
    assert [row.network for row in rows] == [
        "esc_lt (sdpa, fp32)",
        "esc_lt (eager, bf16)",
        "bicubic (fp32)",
    ]
    assert "fp32" not in rows[0].where
    assert rows[2].kind == "interpolation"
    compiled = measured([record(), record(compile=True), record(compile=True)])
    assert [row.network for row in compiled] == [
        "esc_lt (not compiled)",
        "esc_lt (compiled)",
        "esc_lt (compiled) #2",
    ]


def test_an_error_stays_with_its_row(measured, record):
    failed = record(latency_ms=None, peak_memory_mib=None, error="out of memory: 9 GiB")
    (row,) = measured([failed | {"memory_source": None, "threads": None}])
    assert (row.error, row.latency_ms, row.memory) == ("out of memory: 9 GiB", None, None)


def test_quality_joins_by_name_and_scale(measured, record):
    networks = {"ESC_lt_x4.pth": {"Set5": 32.5, "urban100": 26.7}, "mine": {"Set5": 30.0}}
    joined, alone = measured([record()], networks)
    assert joined.quality("Set5", "psnr_y") == 32.5
    assert joined.quality("Urban100", "psnr_y") == 26.7  # whatever case the folder had
    assert (joined.quality_origin, joined.borrowed) == ("measured", False)
    assert joined.protocols == ("paper: PSNR and SSIM on Y, 4 pixels cropped",)
    assert (alone.network, alone.latency_ms, alone.kind) == ("mine", None, "other")
    assert alone.quality("Set5", "psnr_y") == 30.0


def test_quality_of_a_file_of_weights_belongs_to_its_costs_alone(measured, record):
    mine = record(checkpoint="runs/a/best.ckpt")
    rows = measured([mine, record()], {"best.ckpt": {"Set5": 30.0}})
    assert [row.network for row in rows] == ["esc_lt (best.ckpt)", "esc_lt (fresh weights)"]
    assert [row.quality("Set5", "psnr_y") for row in rows] == [30.0, None]
    # by the whole path, as `evaluate` writes it where names are the same
    other = record(checkpoint="runs/b/best.ckpt")
    both = {"runs/a/best.ckpt": {"Set5": 30.0}, "runs/b/best.ckpt": {"Set5": 31.0}}
    rows = measured([mine, other], both)
    assert [row.quality("Set5", "psnr_y") for row in rows] == [30.0, 31.0]
    with pytest.raises(InputError, match=r"may be those of runs/a/best\.ckpt or of runs/b"):
        measured([mine, other], {"best.ckpt": {"Set5": 30.0}})


def test_convolutions_in_place_of_attention_are_another_network(measured, record):
    (row, quality) = measured([record(attention="conv_attn")], {"esc_lt": {"Set5": 32.0}})
    assert not row.sets
    assert quality.quality("Set5", "psnr_y") == 32.0
    assert not borrow_quality([row])[0].sets


def test_borrowed_quality_is_published_and_says_so(measured, record):
    rows = measured([record(), record(network="esc", params_k=120.0), record(network="new")])
    borrowed, too_small, unknown = borrow_quality(rows)
    assert borrowed.quality("Urban100", "psnr_y") == 26.76
    assert (borrowed.origin, borrowed.quality_origin) == ("measured", "published")
    assert borrowed.borrowed
    assert not too_small.sets
    assert not unknown.sets
    (own,) = borrow_quality(measured([record()], {"esc_lt": {"Set5": 32.0}}))
    assert not own.borrowed
    printed = published_comparison(4)
    assert borrow_quality(printed) == printed


def test_an_output_of_another_size_is_known(measured, record):
    at_x3 = record(scale=3, lq_size=[240, 427], output_size=[720, 1281])
    assert measured([at_x3], scale=3)[0].standard_size  # sides are rounded up
    (small,) = measured([record(lq_size=[64, 64], output_size=[256, 256], batch_size=2)])
    assert not small.standard_size
    assert "output 256×256, batch of 2" in small.hardware


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"device": "GPU A", "device_name": "GPU A"},
            r"several devices .*filter=\{device: \"cpu\"",
        ),
        ({"device_name": "Other CPU"}, "several devices"),
        (
            {"lq_size": [64, 64], "output_size": [256, 256]},
            r"several output sizes .*\(\[720, 1280\]; \[256, 256\]\)",
        ),
        ({"batch_size": 8}, "several batch sizes"),
    ],
)
def test_costs_that_do_not_compare_are_refused(measured, record, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        measured([record(), record(**changes)])
    assert "\n" not in str(caught.value)


def test_records_are_filtered(bench_file, record):
    records = read_measurements(
        bench_file(record(), record(precision="bf16"), record(compile=True))
    )
    assert len(filter_measurements(records, None)) == 3
    assert [one.precision for one in filter_measurements(records, {"precision": "bf16"})] == [
        "bf16"
    ]
    kept = filter_measurements(records, {"output_size": [720, 1280], "compile": True})
    assert len(kept) == 1
    with pytest.raises(
        InputError, match="no record has precision=fp8; there are precision=fp32, bf16"
    ):
        filter_measurements(records, {"precision": "fp8"})
    with pytest.raises(InputError, match="a record has no 'kernel'; choose among: network"):
        filter_measurements(records, {"kernel": "fp32"})


@pytest.mark.parametrize("key", ["network", "latency_ms", "versions", "error", "output_size"])
def test_a_missing_key_is_named_with_its_record(bench_file, record, key):
    broken = record()
    del broken[key]
    path = bench_file(record(), broken)
    with pytest.raises(InputError, match=f"bench.json: record 2 has no '{key}'") as caught:
        read_measurements(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latency_ms": "fast"}, "'latency_ms' must be a number of at least 0 or null, got 'fast'"),
        ({"latency_ms": -1}, "'latency_ms' must be a number of at least 0 or null, got -1"),
        ({"params_k": float("nan")}, "'params_k' must be a number of at least 0, got nan"),
        ({"scale": True}, "'scale' must be a whole number, got True"),
        ({"network": None}, "'network' must be a text, got None"),
        ({"output_size": [720]}, r"'output_size' must be \[height, width\], got \[720\]"),
        ({"compile": "no"}, "'compile' must be true or false, got 'no'"),
        ({"versions": []}, r"'versions' must be an object of versions, got \[\]"),
    ],
)
def test_a_wrong_value_is_named(bench_file, record, changes, message):
    with pytest.raises(InputError, match=f"record 1: {message}") as caught:
        read_measurements(bench_file(record(**changes)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_measurements, read_quality])
@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot be read: No such file"), ("{", "is not JSON"), ('"a"', "expected")],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path, read, text, message):
    path = tmp_path / "some.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=rf"some\.json.*{message}") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_record_must_be_an_object(bench_file):
    with pytest.raises(InputError, match="record 1 is no object"):
        read_measurements(bench_file(3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"Set5": {"psnr_y": 30, "scale": 4}}, "'Set5' has no 'network'"),
        ({"a x4": {"Set5": {"psnr_y": 30, "network": "a"}}}, "'a x4', 'Set5' has no 'scale'"),
        ({"Set5": {"psnr_y": None, "network": "a", "scale": 4}}, "'psnr_y' must be a number or"),
        ({"Set5": {"network": "a", "scale": "4"}}, "'scale' must be a whole number, got '4'"),
        ({"Set5": {"network": "a", "scale": 4, "protocol": "p"}}, "'protocol' must be a list"),
        ({"Set5": 3}, "'Set5' is no set"),
        ({}, "sets are expected"),
    ],
)
def test_a_wrong_results_file_is_told_in_one_line(tmp_path, content, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"results\.json.*{message}") as caught:
        read_quality(path)
    assert "\n" not in str(caught.value)


def test_both_layouts_of_results_and_infinity_are_read(tmp_path, results_file):
    (one,) = read_quality(results_file({"a": {"Set5": "inf"}}))
    assert (one.network, one.scale, one.set_name) == ("a", 4, "Set5")
    assert one.values == {"psnr_y": float("inf"), "ssim_y": 0.8}
    several = read_quality(results_file({"a": {"Set5": 30}, "b": {"Set5": 31, "Set14": 28}}))
    assert [(one.network, one.set_name) for one in several] == [
        ("a", "Set5"),
        ("b", "Set5"),
        ("b", "Set14"),
    ]


def test_two_files_add_to_each_other_and_may_not_disagree(results_file):
    first = read_quality(results_file({"a": {"Set5": 30.0}}, name="1.json"))
    second = read_quality(results_file({"a": {"Set14": 28.0}}, name="2.json"))
    third = read_quality(results_file({"a": {"Set5": 31.0}}, name="3.json"))
    (row,) = measured_comparison([], [*first, *second], 4)
    assert set(row.sets) == {"Set5", "Set14"}
    with pytest.raises(InputError, match=r"3\.json: psnr_y of a on Set5 is 31.0 here and 30.0"):
        measured_comparison([], [*first, *third], 4)


def test_two_results_for_one_network_are_refused(measured, record):
    with pytest.raises(InputError, match=r"esc_lt\.pth and esc_lt_x4\.pth both belong to esc_lt"):
        measured([record()], {"esc_lt.pth": {"Set5": 30.0}, "esc_lt_x4.pth": {"Set5": 31.0}})


def test_another_scale_is_told(bench_file, results_file, record):
    costs = read_measurements(bench_file(record()))
    with pytest.raises(InputError, match="bench: nothing there is of ×2, only of ×4"):
        measured_comparison(costs, [], 2)
    qualities = read_quality(results_file({"a": {"Set5": 30.0}}))
    with pytest.raises(InputError, match="results: nothing there is of ×2, only of ×4"):
        measured_comparison([], qualities, 2)
