import csv
import json

import pytest
import torch

from esc_sr import create_model, save_model
from esc_sr.comparison.reading import read_measurements
from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.models.peers.swinir import SwinIRLight
from esc_sr.profiling.fresh import FreshProcess, MeasurementError
from esc_sr.tasks import bench, evaluate
from esc_sr.tasks import compare as compare_networks
from esc_sr.tasks.bench import OUTPUT_SIZES, plan, run, sizes, translated
from esc_sr.tasks.bench_files import write_records
from tiny import MODEL, NETWORK

QUICK = ["device=cpu", "warmup=0", "repeats=2"]


def compose(*overrides):
    return compose_config("bench", [*QUICK, *translated(list(map(str, overrides)))])


@pytest.fixture
def not_run(monkeypatch):
    """Replace the measurement by nothing: for what does not depend on it."""

    def measure(job):
        return job.record

    monkeypatch.setattr(bench, "measure", measure)


@pytest.fixture
def not_counted(monkeypatch):
    """Leave the counts of multiply-adds and activations out, where networks are large."""
    monkeypatch.setattr(bench, "count_macs", lambda network, lq_size: 10**10)
    monkeypatch.setattr(bench, "count_activations", lambda network, lq_size: 10**8)


@pytest.fixture
def fails(monkeypatch):
    """Let every measurement fail as its process would, which is not started."""

    def failing(*error):
        def start(build, setting):
            raise MeasurementError(*error)

        monkeypatch.setattr(bench, "FreshProcess", start)

    return failing


def test_the_contract(tmp_path, monkeypatch):
    """`esc-sr bench model=esc scale=4 lq_size=... attention=sdpa repeats=... output_dir=OUT`."""
    out = tmp_path / "out"
    command = ["model=esc", "scale=4", "lq_size=[16,24]", "attention=sdpa", "device=cpu"]
    bench.main([*command, "repeats=3", f"output_dir={out}"])
    (record,) = json.loads((out / "bench.json").read_text())
    assert record["network"] == "esc"
    assert record["title"] == "ESC"
    assert record["attention"] == "sdpa"
    assert (record["scale"], record["lq_size"], record["output_size"]) == (4, [16, 24], [64, 96])
    assert record["params_k"] == 967.5
    assert record["latency_p10_ms"] <= record["latency_ms"] <= record["latency_p90_ms"]
    assert record["peak_memory_mib"] > 0
    assert record["memory_source"] == "resident_increase"
    assert record["macs_g"] > 0
    assert record["activations_m"] > 0
    assert record["build_s"] > 0
    assert (record["warmup"], record["repeats"]) == (1, 3)
    assert record["versions"]["torch"]
    assert record["error"] is None
    (row,) = csv.DictReader((out / "bench.csv").read_text().splitlines())
    assert row["lq_size"] == "16x24"
    assert float(row["latency_ms"]) == record["latency_ms"]
    assert "| esc | sdpa | ×4 | 24×16 | fp32 |" in (out / "bench.md").read_text()


def test_lists_give_every_combination(not_run, not_counted, capsys):
    records = run(
        compose(
            "model=[esc_fp,bicubic]",
            "attention=[sdpa,conv_attn]",
            "scale=[2,4]",
            "output_size=[[24,32],[90,100]]",
            "precision=[fp32,bf16]",
            "compile=[false,true]",
        )
    )
    # bicubic has no attention to choose, so it comes once
    assert len(records) == (2 + 1) * 2 * 2 * 2 * 2
    assert len({str(record) for record in records}) == len(records)
    kinds = {(record.network, record.attention) for record in records}
    assert ("esc_fp", "conv_attn") in kinds
    assert ("bicubic", None) in kinds
    titles = {record.title for record in records if record.attention == "conv_attn"}
    assert titles == {"ESCFP (conv_attn)"}


def test_the_fast_network_is_measured_beside_the_other(tmp_path, capsys):
    run(
        compose(
            "model=esc", *MODEL, "lq_size=[16,24]", "fast=[false,true]", f"output_dir={tmp_path}"
        )
    )
    plain, fast = json.loads((tmp_path / "bench.json").read_text())
    assert (plain["fast"], fast["fast"]) == (False, True)
    assert fast["latency_ms"] > 0
    assert plain["macs_g"] == fast["macs_g"]
    assert "fp32 fast" in capsys.readouterr().out
    assert "| fp32 fast |" in (tmp_path / "bench.md").read_text()


def test_only_esc_is_made_fast():
    with pytest.raises(InputError, match="only the family of ESC is made fast, not Bicubic"):
        run(compose("model=bicubic", "lq_size=[16,24]", "fast=true"))


def test_the_network_of_self_attention_only_is_measured_under_its_own_name(not_run):
    records = run(compose("model=[esc,esc_attn]", "lq_size=[32,32]"))
    assert [record.title for record in records] == ["ESC", "ESC (self-attention)"]
    assert [record.network for record in records] == ["esc", "esc_attn"]
    assert records[0].attention == records[1].attention == "sdpa"
    assert records[0].macs_g < records[1].macs_g


def test_sizes_cover_the_output():
    assert list(sizes(compose("model=esc"), 3)) == [((240, 427), (720, 1280))]
    assert list(sizes(compose("lq_size=[[8,9],[10,11]]"), 2)) == [
        ((8, 9), (16, 18)),
        ((10, 11), (20, 22)),
    ]
    found = list(sizes(compose("output_size=[fhd,4K]"), 4))
    assert [size for _, size in found] == [OUTPUT_SIZES["FHD"], OUTPUT_SIZES["4K"]]


def test_options_of_a_single_model_reach_it(not_run):
    (record,) = run(compose("model=esc", *MODEL, "attention=eager", "lq_size=[8,8]"))
    (plain,) = run(compose("model=esc", "lq_size=[8,8]"))
    assert record.params_k < plain.params_k / 5
    assert (record.attention, plain.attention) == ("eager", "sdpa")


def test_checkpoints_are_measured_by_the_names_of_their_files(not_run, tmp_path):
    for folder, scale in (("a", 2), ("b", 3)):
        save_model(create_model("esc", scale=scale, **NETWORK), tmp_path / folder / "x.safetensors")
    save_model(create_model("esc", scale=2, **NETWORK), tmp_path / "y.safetensors")
    paths = [tmp_path / "a/x.safetensors", tmp_path / "b/x.safetensors", tmp_path / "y.safetensors"]
    records = run(compose(f"checkpoint=[{','.join(map(str, paths))}]", "lq_size=[8,8]"))
    assert [record.scale for record in records] == [2, 3, 2]
    assert [record.network for record in records] == [str(paths[0]), str(paths[1]), "y.safetensors"]
    assert records[0].checkpoint == str(paths[0])


def test_a_network_of_ones_own(not_run):
    overrides = ["model=custom", "model._target_=esc_sr.models.bicubic.Bicubic", "lq_size=[8,8]"]
    (record,) = run(compose(*overrides))
    assert (record.scale, record.params_k, record.macs_g) == (4, 0, 0)


def test_weights_of_a_peer(not_run, not_counted, tmp_path):
    paths = [tmp_path / name for name in ("a.pth", "b.pth")]
    for path in paths:
        torch.save(SwinIRLight(scale=3).state_dict(), path)
    given = ["model=swinir_light", f"checkpoint=[{paths[0]},{paths[1]}]", "lq_size=[8,8]"]
    records = run(compose(*given, "scale=3"))
    assert [record.network for record in records] == ["a.pth", "b.pth"]
    assert [record.checkpoint for record in records] == list(map(str, paths))
    with pytest.raises(InputError, match=r"a\.pth are not those of this SwinIR-light"):
        run(compose(*given, "scale=4"))


def test_what_runs_out_of_memory_is_a_row(tmp_path, fails, capsys):
    fails("out of memory", "the system killed the process")
    (record,) = run(compose("model=esc", *MODEL, "lq_size=[8,8]", f"output_dir={tmp_path}"))
    assert record.error == "out of memory: the system killed the process"
    assert record.latency_ms is None
    assert record.macs_g is not None
    assert read_measurements(tmp_path / "bench.json") == [record]
    assert "out of memory" in capsys.readouterr().out
    assert "| out of memory |" in (tmp_path / "bench.md").read_text()


def test_what_all_networks_refuse_is_an_error(fails):
    fails("refused", "no such thing on this device")
    with pytest.raises(InputError, match="nothing was measured: refused: no such thing"):
        run(compose("model=esc", *MODEL, "lq_size=[8,8]"))


def test_a_multirun_adds_to_one_file(tmp_path, not_run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["-m", "model=esc", *MODEL, "lq_size=[8,8]", "attention=eager,sdpa", "output_dir=out"]
    bench.main([*command, *QUICK])
    assert [r.attention for r in read_measurements(tmp_path / "out/bench.json")] == [
        "eager",
        "sdpa",
    ]
    bench.main([*command, *QUICK])  # not added to the earlier multirun
    assert len(read_measurements(tmp_path / "out/bench.json")) == 2


def test_jobs_of_a_multirun_may_have_folders_of_their_own(tmp_path, not_run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["-m", "model=bicubic", "lq_size=[8,8]", "scale=2", *QUICK]
    bench.main([*command, "output_dir=a,b"])
    assert [len(read_measurements(tmp_path / name / "bench.json")) for name in "ab"] == [1, 1]


def test_a_comparison_runs_both_in_turn(tmp_path, monkeypatch, capsys):
    order = []
    original = FreshProcess.time

    def time(self, **options):
        order.append(id(self))
        return original(self, **options)

    monkeypatch.setattr(FreshProcess, "time", time)
    common = ["model=esc", *MODEL, "lq_size=[8,8]", "device=cpu", "warmup=0", "repeats=3"]
    bench.main([*common, "--compare", "attention=eager", "attention=sdpa precision=bf16",
                f"output_dir={tmp_path}"])  # fmt: skip
    a, b = dict.fromkeys(order)
    assert order == [a, b] * 3
    ratio = json.loads((tmp_path / "compare.json").read_text())
    assert (ratio["baseline"], ratio["subject"]) == (
        "attention=eager",
        "attention=sdpa precision=bf16",
    )
    assert ratio["rounds"] == 3
    assert ratio["latency"]["p10"] <= ratio["latency"]["median"] <= ratio["latency"]["p90"]
    first, second = read_measurements(tmp_path / "bench.json")
    assert (first.attention, second.precision) == ("eager", "bf16")
    assert "B / A: latency" in capsys.readouterr().out


def test_names_and_files_are_subjects_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(create_model("esc", scale=2, **NETWORK), tmp_path / "x.safetensors")
    common = ["lq_size=[8,8]", *QUICK]
    ratio = bench.compare(compose(*common), common, ["bicubic", "x.safetensors"])
    assert (ratio.baseline, ratio.subject) == ("bicubic", "x.safetensors")
    assert ratio.latency.median > 0


def test_nothing_means_the_packaged_weights(not_run):
    (record,) = run(compose("lq_size=[8,8]"))
    assert (record.network, record.scale) == ("esc_tiny_x4.safetensors", 4)
    eager, sdpa = run(compose("lq_size=[8,8]", "attention=[eager,sdpa]"))
    assert (eager.network, eager.attention, sdpa.attention) == (record.network, "eager", "sdpa")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["scale=8"], "no weights for scale=8 come with this package"),
        (["model=[esc,rdn]", "checkpoint=a.pth"], "give one thing to measure"),
        (["model=custom", "model._target_=nowhere.Net"], r"model\._target_=nowhere\.Net cannot be"),
        (["model=custom"], "add model._target_="),
        (["model=[esc,nothing]"], "Could not find 'model/nothing'"),
        (["model=esc", "attention=[nothing]"], "Could not find 'attention/nothing'"),
        (["model=rdn", "attention=sdpa"], "has no attention to choose"),
        (["model=esc", "lq_size=[8,8]", "output_size=HD"], "contradict each other"),
        (["model=esc", "lq_size=8"], r"a size is \[height,width\]"),
        (["model=esc", "lq_size=[8,8,8]"], "lq_size must be"),
        (["model=esc", "output_size=UHD"], "unknown size 'UHD'; choose one of HD, FHD, 4K"),
        (["model=esc", "lq_size=[8,8]", "precision=fp8"], "unknown precision 'fp8'"),
        (["model=esc", "lq_size=[8,8]", "repeats=0"], "repeats must be an integer of at least 1"),
        (["model=esc", "lq_size=[8,8]", "batch_size=0"], "batch_size must be"),
        (["model=esc", "device=tpu7"], "device=tpu7 is not available"),
        (["checkpoint=nowhere.pth"], "checkpoint not found"),
    ],
)
def test_what_makes_no_sense_is_one_line(overrides, message):
    with pytest.raises(InputError, match=message) as caught:
        plan(compose_config("bench", translated(overrides)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["model=esc", "--compare", "a"], 2, "--compare needs two"),
        (["--compare", "model=esc", "model=[esc,rdn]"], 1, "means 2 of them"),
        (["--compare", "model=esc", "model=nothing"], 1, "Could not find 'model/nothing'"),
    ],
)
def test_comparisons_that_make_no_sense_are_one_line(
    arguments, status, message, capsys, not_counted
):
    with pytest.raises(SystemExit) as left:
        bench.main(arguments)
    assert left.value.code == status
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_no_multiply_adds_of_what_cannot_run_on_meta(monkeypatch, capsys, not_run):
    def count_macs(*_):
        raise NotImplementedError("no meta")

    monkeypatch.setattr(bench, "count_macs", count_macs)
    (record,) = run(compose("model=bicubic", "lq_size=[8,8]"))
    assert record.macs_g is None
    assert "no multiply-adds of bicubic: no meta" in capsys.readouterr().err


def test_records_survive_their_file(tmp_path, not_run):
    records = run(compose("model=[esc,bicubic]", "lq_size=[8,8]"))
    write_records(records, tmp_path)
    assert read_measurements(tmp_path / "bench.json") == records
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_table_fits_eighty_columns(not_run, not_counted, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run(compose("model=[esc,swinir_light]", "attention=[eager,sdpa]", "lq_size=[8,8]"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "swinir_light" in "".join(lines)
    assert not any("…" in line for line in lines)


def test_subjects_keep_their_names(not_counted):
    jobs = [bench._only_job(["lq_size=[8,8]", *QUICK], name) for name in ("esc_lt", "swinir_light")]
    assert [job.record.network for job in jobs] == ["esc_lt", "swinir_light"]


def test_both_subjects_run_alike():
    common = ["model=bicubic", "lq_size=[8,8]"]
    with pytest.raises(InputError, match="give warmup and repeats before --compare"):
        bench.compare(compose(*common), common, ["repeats=2", "repeats=3"])


def test_an_error_may_hold_anything(tmp_path, fails, not_counted, monkeypatch, capsys):
    fails("out of memory", "[enforce fail at alloc.cpp] in [/usr/lib/x] now")
    monkeypatch.setenv("COLUMNS", "80")
    sizes_of = "lq_size=[[8,8],[9,9]]"
    run(compose("model=[esc,esc_lt]", "attention=[eager,sdpa]", sizes_of, f"output_dir={tmp_path}"))
    out = capsys.readouterr().out
    assert "[enforce fail at alloc.cpp] in [/usr/lib/x] now" in " ".join(out.split())
    assert "esc_lt" in out
    assert len(read_measurements(tmp_path / "bench.json")) == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("repeats=1.5", "repeats must be an integer"),
        ("repeats=x", "repeats must be an integer"),
        ("warmup=true", "warmup must be an integer"),
        ("compile=maybe", "compile is true or false, got maybe"),
        ("fast=maybe", "fast is true or false, got maybe"),
        ("fast=[]", r"fast=\[\] is an empty list"),
        ("precision=[]", r"precision=\[\] is an empty list"),
        ("scale=[]", r"scale=\[\] is an empty list"),
        ("lq_size=[true,8]", r"a size is \[height,width\]"),
        ("lq_size=[]", r"lq_size=\[\] is an empty list"),
    ],
)
def test_values_of_another_kind_are_one_line(override, message):
    with pytest.raises(InputError, match=message):
        plan(compose_config("bench", ["model=bicubic", override]))


def test_quality_of_other_weights_of_the_same_name_is_not_taken(tmp_path, not_run):
    """Every training run writes a model.safetensors."""
    paths = []
    for name, changes in (("a", {}), ("b", {"num_conv_attn": 2})):
        network = create_model("esc", scale=2, **{**NETWORK, **changes})
        paths.append(save_model(network, tmp_path / name / "model.safetensors"))
    evaluate.run(
        compose_config(
            "evaluate",
            [f"checkpoint={paths[0]}", "sets=[sample]", f"output_dir={tmp_path / 'a'}"],
        )
    )
    rows = {}
    for path in paths:
        run(compose(f"checkpoint={path}", "lq_size=[8,8]", f"output_dir={path.parent}"))
        files = [f"bench={path.parent / 'bench.json'}", f"results={tmp_path / 'a/results.json'}"]
        overrides = [*files, "scale=2", "published=none"]
        found = compare_networks.run(compose_config("compare", overrides))
        rows[path.parent.name] = [bool(row.sets) for row in found]
    assert rows == {"a": [True], "b": [False, True]}
