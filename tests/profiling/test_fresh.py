import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

from esc_sr import create_model
from esc_sr.errors import InputError
from esc_sr.models.bicubic import Bicubic
from esc_sr.profiling.fresh import FreshProcess, MeasurementError, Setting

TINY = {"dim": 16, "partial_dim": 8, "num_blocks": 1, "num_conv_attn": 1, "window_size": 8}
SMALL = Setting(lq_size=(8, 8))


def test_times_are_one_for_each_repeat_and_memory_is_that_of_the_network():
    build = partial(create_model, "esc", scale=2, **TINY)
    with FreshProcess(build, Setting(lq_size=(64, 96), threads=1)) as process:
        times = process.time(warmup=1, repeats=3)
        small = process.memory()
        process.warm_up(2)
    assert len(times) == 3
    assert min(times) > 0
    assert process.build_s > 0
    assert process.threads == 1
    assert small.source == "resident_peak"
    # 16 channels of 64×96 in fp32 are 0.4 MiB; the process itself is hundreds of MiB.
    assert 0.3 < small.increase_mib < 150


def test_memory_grows_with_the_image_not_with_what_the_caller_holds():
    """The peak of the calling process would hide a small network behind what it has freed."""
    ballast = bytearray(600 * 2**20)
    increases = []
    for side in (16, 512):
        with FreshProcess(partial(Bicubic, scale=2), Setting(lq_size=(side, side))) as process:
            process.warm_up(1)
            increases.append(process.memory().increase_mib)
    del ballast
    output_mib = 3 * 1024**2 * 4 / 2**20
    assert increases[1] > increases[0] + output_mib
    assert increases[1] < 300


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_autocast_types(precision):
    build = partial(create_model, "esc", scale=2, **TINY)
    with FreshProcess(build, Setting(lq_size=(8, 8), precision=precision)) as process:
        assert len(process.time()) == 1


def test_running_out_of_memory_is_told_as_such():
    with pytest.raises(MeasurementError, match="out of memory") as caught:
        FreshProcess(partial(bytes, sys.maxsize // 2), SMALL).__enter__()  # type: ignore[arg-type]
    assert caught.value.kind == "out of memory"


def test_a_killed_process_has_run_out_of_memory():
    build = partial(signal.raise_signal, signal.SIGKILL)
    with pytest.raises(MeasurementError, match="the system killed the process") as caught:
        FreshProcess(build, SMALL).__enter__()  # type: ignore[arg-type]
    assert caught.value.kind == "out of memory"


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (partial(os._exit, 3), "the process ended with status 3"),
        (partial(signal.raise_signal, signal.SIGTERM), "the process got SIGTERM"),
        (partial(int, "no"), "ValueError: invalid literal"),
    ],
)
def test_other_ends_are_failures(build, told):
    with pytest.raises(MeasurementError, match=told) as caught:
        FreshProcess(build, SMALL).__enter__()
    assert caught.value.kind == "failed"


def test_what_a_network_refuses_is_told_in_its_own_words():
    with pytest.raises(MeasurementError, match="unknown model 'nothing'") as caught:
        FreshProcess(partial(create_model, "nothing"), SMALL).__enter__()
    assert caught.value.kind == "refused"


def test_nothing_is_left_running():
    with FreshProcess(partial(Bicubic, scale=2), SMALL) as process:
        pid = process._process.pid
        assert pid is not None
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_nothing_outlives_a_parent_that_was_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, signal\n"
        "from functools import partial\n"
        "from esc_sr.models.bicubic import Bicubic\n"
        "from esc_sr.profiling.fresh import FreshProcess, Setting\n"
        "if __name__ == '__main__':\n"
        "    with FreshProcess(partial(Bicubic, scale=2), Setting(lq_size=(8, 8))) as process:\n"
        "        process._connection.send(('time', 0, 10**9))\n"
        "        print(process._process.pid, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    child = int(done.stdout)
    for _ in range(300):
        try:
            if psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
                return  # ended, and nobody has asked for its status
        except psutil.NoSuchProcess:
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child went on without its parent")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lq_size": (0, 8)}, "lq_size must be"),
        ({"lq_size": (8, 8), "batch_size": 0}, "batch_size must be"),
        ({"lq_size": (8, 8), "threads": 0}, "threads must be"),
        ({"lq_size": (8, 8), "precision": "fp8"}, "unknown precision 'fp8'"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Setting(**options)


@pytest.mark.slow
def test_compiled_networks_are_measured_too():
    build = partial(create_model, "esc", scale=2, **TINY)
    with FreshProcess(build, Setting(lq_size=(16, 16), compile=True)) as process:
        assert len(process.time(warmup=1, repeats=2)) == 2


@pytest.mark.gpu
def test_a_gpu_is_measured_by_its_own_allocator():
    build = partial(create_model, "esc", scale=2, **TINY)
    setting = Setting(lq_size=(64, 64), device="cuda", precision="bf16")
    with FreshProcess(build, setting) as process:
        assert len(process.time(warmup=2, repeats=3)) == 3
        assert process.memory().source == "cuda_allocated"
