"""Keep secrets out of what is written into run folders."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"
_KEY = re.compile(r"(?i)api_?key|access_?key|secret|passw|credential|(?:^|[_-])tokens?$")
# Shapes that are secrets wherever they stand: of GitHub, OpenAI, Hugging Face, AWS, Slack, and
# names with passwords in addresses.
_SHAPES = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|sk-[\w-]{20,}|hf_\w{20,}|AKIA[0-9A-Z]{16}"
    r"|xox[abprs]-[\w-]{10,})\b|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"
)
# In a text: a name as above, then a literal in quotes, or a long word with digits in it.
_ASSIGNED = re.compile(
    r"(?i)((?:api_?key|access_?key|secret|passw(?:or)?d|credential|token)\w*[\"']?\s*[:=]\s*)"
    r"(\"[^\"\n]{8,}\"|'[^'\n]{8,}'|(?=[\w+/=.-]*\d)[\w+/=.-]{16,})"
)
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(.*?)(-----END)", re.DOTALL)


def is_secret(key: str) -> bool:
    """Return whether a key's last part names a secret.

    Example:
        >>> is_secret("logger.wandb.api_key"), is_secret("model.num_tokens_kept")
        (True, False)
    """
    return _KEY.search(key.rpartition(".")[2]) is not None


def redacted(value: Any, key: str = "") -> Any:
    """Return plain values with those hidden that are, or are called like, secrets.

    Args:
        value: Of a configuration: mappings, lists and plain values.
        key: Its name.
    """
    if isinstance(value, dict):
        return {name: redacted(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [redacted(inner, key) for inner in value]
    if value is not None and not isinstance(value, bool) and is_secret(key):
        return HIDDEN
    return _SHAPES.sub(HIDDEN, value) if isinstance(value, str) else value


def redacted_override(override: str) -> str:
    """Return `key=value` of a command line with a secret value hidden.

    Example:
        >>> redacted_override("+logger.wandb.api_key=abc"), redacted_override("seed=1")
        ('+logger.wandb.api_key=***', 'seed=1')
    """
    key, equals, value = override.partition("=")
    return f"{key}{equals}{redacted(value, key)}"


def redacted_text(text: str) -> str:
    """Return a text, such as a diff, with literals hidden that look like secrets.

    Example:
        >>> redacted_text('password = "correct horse"')
        'password = ***'
    """
    text = _PRIVATE_KEY.sub(rf"\1{HIDDEN}\3", text)
    return _SHAPES.sub(HIDDEN, _ASSIGNED.sub(rf"\1{HIDDEN}", text))
