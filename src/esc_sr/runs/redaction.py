"""Keep secrets out of what is written into run folders."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"
_NAMES = r"(?:api|access|private|wandb)[_-]?key|secret|passw|credential|authorization"
_KEY = re.compile(rf"(?i){_NAMES}|(?:^|[_-])(?:tokens?|pwd|auth)$")
# Within the value of an override, such as `{api_key: x}`: such a name, then what it is given.
_WITHIN = re.compile(
    rf"(?i)((?:[\w-]*(?:{_NAMES})[\w-]*|(?<![\w-])(?:[\w-]*[_-])?(?:tokens?|pwd|auth))[\"']?\s*:\s*)"
    r"(?!\s*(?:null|true|false)\b)(\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"|'[^']*'|[^,}\]]+)"
)
# Shapes that are secrets wherever they stand: of GitHub, GitLab, OpenAI, Hugging Face, W&B, AWS,
# Slack, headers, and names with passwords in addresses.
_SHAPES = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|sk-[\w-]{20,}|hf_\w{20,}|AKIA[0-9A-Z]{16}"
    r"|glpat-[\w-]{20,}|wandb_v\d+_\w{20,}|xox[abprs]-[\w-]{10,})\b"
    r"|(?<=Bearer )[\w.~+/-]+=*|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"
)
# In a text: a name as above, then a literal in quotes, or a long word with digits in it.
_ASSIGNED = re.compile(
    r"(?i)((?:api_?key|access_?key|secret|passw(?:or)?d|credential|token)\w*[\"']?\s*[:=]\s*)"
    r"(\"[^\"\n]{8,}\"|'[^'\n]{8,}'|(?=[\w+/=.-]*\d)[\w+/=.-]{16,})"
)
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(.*?)(-----END)", re.DOTALL)


def is_secret(key: str) -> bool:
    """Return whether a part of a key names a secret: what lies below one is secret too.

    Example:
        >>> is_secret("logger.wandb.api_key.value"), is_secret("model.num_tokens_kept")
        (True, False)
    """
    return any(_KEY.search(part) for part in key.lstrip("+~").split("."))


def redacted(value: Any, key: str = "") -> Any:
    """Return plain values with those hidden that are, or are called like, secrets.

    Args:
        value: Of a configuration: mappings, lists and plain values.
        key: Its name.
    """
    if isinstance(value, dict):
        inside = f"{key}." if is_secret(key) else ""
        return {name: redacted(inner, f"{inside}{name}") for name, inner in value.items()}
    if isinstance(value, list):
        return [redacted(inner, key) for inner in value]
    if value is not None and not isinstance(value, bool) and is_secret(key):
        return HIDDEN
    return _SHAPES.sub(HIDDEN, value) if isinstance(value, str) else value


def redacted_override(override: str) -> str:
    """Return `key=value` of a command line with a secret value hidden.

    Example:
        >>> redacted_override("+logger.wandb.api_key=abc"), redacted_override("+a={token:b,c:1}")
        ('+logger.wandb.api_key=***', '+a={token:***,c:1}')
    """
    key, equals, value = override.partition("=")
    hidden = _WITHIN.sub(lambda found: found[1] + HIDDEN, redacted(value, key))
    return f"{key}{equals}{hidden}"


def redacted_text(text: str) -> str:
    """Return a text, such as a diff, with literals hidden that look like secrets.

    Example:
        >>> redacted_text('password = "correct horse"')
        'password = ***'
    """
    text = _PRIVATE_KEY.sub(rf"\1{HIDDEN}\3", text)
    return _SHAPES.sub(HIDDEN, _ASSIGNED.sub(rf"\1{HIDDEN}", text))
