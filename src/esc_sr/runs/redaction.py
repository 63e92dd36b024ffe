"""Keep secrets out of what is written into run folders."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

HIDDEN = "***"
_NAMES = (
    r"(?:api|access|private|signing|encryption|wandb)[_-]?key"
    r"|secret|passw|passphrase|passcode|sshpass|credential|authorization|bearer|cookie"
)
_ENDS = r"tokens?|pwd|pass|auth"
_KEY = re.compile(rf"(?i){_NAMES}|(?:^|[_-])(?:{_ENDS})$|[_-](?:key|pat)$")
_CAMEL_KEY = re.compile(r"[a-z0-9](?:Tokens?|Pwd|Pass|Auth|Key)$")
# Values as short as this are found by their names alone: they may be parts of other words.
_SHORT_IN_ENVIRONMENT, _SHORT_IN_OVERRIDE = 6, 4
_NO_SECRETS = {"PWD", "OLDPWD"}  # the shell's
# `${oc.env:NAME}` tells a name, no value.
_BY_ENVIRONMENT = re.compile(r"[\"']?\$\{oc\.env:[A-Za-z_]\w*\}[\"']?")
# `api_key=x` among other such pairs: of an address, of an override. A key is taken as a whole or
# not at all, so that the time stays proportional to the length.
_BEFORE_A_VALUE = re.compile(r"(?<![\w./@+~-])([\w./@+~-]++)=")
_BEFORE_A_KEY = re.compile(r"[/@+~]")
_VALUE = re.compile(r"\"[^\"]*\"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|[^\s&,;#'\"]+")
# Within the value of an override, such as `{api_key: x}`: such a name, then what it is given.
_WITHIN = re.compile(
    rf"(?i)((?:[\w-]*(?:{_NAMES})[\w-]*|(?<![\w-])(?:[\w-]*[_-])?(?:{_ENDS}))[\"']?\s*:\s*)"
    r"(?!\s*(?:null|true|false)\b)(\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"|'[^']*'|[^,}\]]+)"
)
# Shapes that are secrets wherever they stand: of GitHub, GitLab, OpenAI, Hugging Face, W&B, AWS,
# Slack, Google, npm, JSON Web Tokens, headers, and names with passwords in addresses.
_SHAPES = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|sk-[\w-]{20,}|hf_\w{20,}|AKIA[0-9A-Z]{16}"
    r"|glpat-[\w-]{20,}|wandb_v\d+_\w{20,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{30,}|npm_\w{30,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})\b|(?<=Authorization: Basic )[\w+/]+=*"
    r"|(?<=Bearer )[\w.~+/-]+=*|(?<=://)(?!git@)[^\s/]+(?=@)"
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
    parts = key.lstrip("+~").split(".")
    return any(_KEY.search(part) or _CAMEL_KEY.search(part) for part in parts)


def hidden(text: str, overrides: Sequence[str] = ()) -> str:
    """Return a text without secrets that are known: by shape, by name, or by their values.

    Values are those of variables of the environment that are called like secrets, so that it does
    not matter under which name a configuration took one from there.

    Args:
        text: A message, a line of a log, a value of a configuration.
        overrides: Of the command line: what they give to secrets is hidden too.

    Example:
        >>> hidden("+a.api_key=abc seed=1"), hidden("https://me:pw@host/x?token=abc&y=1")
        ('+a.api_key=*** seed=1', 'https://***@host/x?token=***&y=1')
    """
    for value in sorted(_values(overrides), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return _SHAPES.sub(HIDDEN, "".join(_without_values(text)))


def _without_values(text: str) -> Iterator[str]:
    """Hide what is given to keys called like secrets, also within what others are given."""
    at = 0
    while found := _BEFORE_A_VALUE.search(text, at):
        yield text[at : found.end()]
        at = found.end()
        value = _VALUE.match(text, at) if is_secret(_BEFORE_A_KEY.split(found[1])[-1]) else None
        if value is not None and not _is_told(value[0]):
            yield HIDDEN
            at = value.end()
    yield text[at:]


def _values(overrides: Sequence[str]) -> set[str]:
    values = {
        value
        for name, value in os.environ.items()
        if len(value) >= _SHORT_IN_ENVIRONMENT and is_secret(name) and name not in _NO_SECRETS
    }
    for override in overrides:
        key, _, value = override.partition("=")
        given = [value] if is_secret(key) else [found[2] for found in _WITHIN.finditer(value)]
        values |= {
            one
            for one in (one.strip("\"' ") for one in given)
            if len(one) >= _SHORT_IN_OVERRIDE and not _is_told(one)
        }
    return values - {HIDDEN}


def _is_told(value: str) -> bool:
    """Return whether a value is none: nothing, a flag, or the name of a variable."""
    return value in ("", "null", "true", "false") or bool(_BY_ENVIRONMENT.fullmatch(value))


def redacted(value: Any, key: str = "", overrides: Sequence[str] = ()) -> Any:
    """Return plain values with those hidden that are, or are called like, secrets.

    Args:
        value: Of a configuration: mappings, lists and plain values.
        key: Its name.
        overrides: As for `hidden`.
    """
    if isinstance(value, dict):
        inside = f"{key}." if is_secret(key) else ""
        return {
            name: redacted(inner, f"{inside}{name}", overrides) for name, inner in value.items()
        }
    if isinstance(value, list):
        return [redacted(inner, key, overrides) for inner in value]
    told = isinstance(value, str) and _is_told(value)
    if value is not None and not isinstance(value, bool) and not told and is_secret(key):
        return HIDDEN
    return hidden(value, overrides) if isinstance(value, str) else value


def redacted_override(override: str) -> str:
    """Return `key=value` of a command line with a secret value hidden.

    Example:
        >>> redacted_override("+logger.wandb.api_key=abc"), redacted_override("+a={token:b,c:1}")
        ('+logger.wandb.api_key=***', '+a={token:***,c:1}')
    """
    key, equals, value = override.partition("=")
    kept = _WITHIN.sub(lambda found: found[1] + HIDDEN, redacted(value, key))
    return f"{key}{equals}{kept}"


class RedactingFormatter(logging.Formatter):
    """Formats records of Python's logging without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, traceback included."""
        return hidden(super().format(record))


def redacted_text(text: str) -> str:
    """Return a text, such as a diff, with literals hidden that look like secrets.

    Example:
        >>> redacted_text('password = "correct horse"')
        'password = ***'
    """
    text = _PRIVATE_KEY.sub(rf"\1{HIDDEN}\3", text)
    for value in _values(()):
        text = text.replace(value, HIDDEN)
    return _SHAPES.sub(HIDDEN, _ASSIGNED.sub(rf"\1{HIDDEN}", text))
