import torch

from esc_sr import __version__
from esc_sr.profiling import conditions
from esc_sr.profiling.conditions import device_name, versions


def test_versions_are_those_that_run():
    known = versions()
    assert known["esc_sr"] == __version__
    assert known["torch"] == torch.__version__
    assert set(known) == {"esc_sr", "torch", "python", "cuda"}


def test_the_processor_is_named(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU 9000 @ 3 GHz\n")
    monkeypatch.setattr(conditions, "_CPU_INFO", info)
    assert device_name("cpu") == "Some CPU 9000 @ 3 GHz"
    monkeypatch.setattr(conditions, "_CPU_INFO", tmp_path / "missing")
    assert device_name("cpu")
