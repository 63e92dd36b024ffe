import pytest

from esc_sr.runs.redaction import (
    HIDDEN,
    hidden,
    is_secret,
    redacted,
    redacted_override,
    redacted_text,
)

SECRETS = [
    "ghp_" + "a1" * 18,
    "hf_" + "b2" * 17,
    "AKIA" + "ABCD2345" * 2,
]


def test_values_are_hidden_by_their_key_and_by_their_shape():
    config = {
        "logger": {"wandb": {"api_key": "abc", "project": "esc_sr", "tags": [SECRETS[0]]}},
        "data": {"gt_dir": "https://me:hunter2@example.org/x", "hub_token": "t", "password": None},
        "model": {"num_tokens_kept": 3, "use_token": True},
    }
    assert redacted(config) == {
        "logger": {"wandb": {"api_key": HIDDEN, "project": "esc_sr", "tags": [HIDDEN]}},
        "data": {
            "gt_dir": f"https://{HIDDEN}@example.org/x",
            "hub_token": HIDDEN,
            "password": None,
        },
        "model": {"num_tokens_kept": 3, "use_token": True},
    }


def test_overrides_keep_their_key():
    assert redacted_override("++logger.wandb.api_key=x=y") == f"++logger.wandb.api_key={HIDDEN}"
    assert redacted_override(f"note={SECRETS[1]}") == f"note={HIDDEN}"
    assert redacted_override("~callbacks.images") == "~callbacks.images"


@pytest.mark.parametrize(
    "override",
    [
        "+extra={api_key: hunter}",
        "+extra={api_key:hunter,b:1}",
        '+extra={a: 1, "password": "hunter"}',
        "+extra=[{token: hunter}]",
        "+extra={a: {hub_token: hunter}}",
        "+extra={api_key: {value: hunter}}",
        "+tokens=[hunter]",
        "+extra={tokens: [a, hunter]}",
        "+a.api_key.value=hunter",
        "+secret.name=hunter",
        "+API-KEY=hunter",
        "+pwd=hunter",
        "+token=hunter",
        "++wandb_key=hunter",
        '+headers.Authorization="Bearer hunter"',
        '+headers={x: "Bearer hunter"}',
        f"+d=glpat-hunter{'x' * 20}",
        f"+k=wandb_v1_hunter{'x' * 20}",
    ],
)
def test_secrets_within_overrides_are_hidden(override):
    told = redacted_override(override)
    assert "hunter" not in told
    assert HIDDEN in told


@pytest.mark.parametrize(
    "override",
    [
        "model.num_tokens_kept=3",
        "+extra={num_tokens_kept: 3}",
        "+extra={api_key: null}",
        "params={optimizer.lr: {type: float}}",
        "data.train.gt_dir=tokens/x",
    ],
)
def test_other_overrides_stay_as_they_are(override):
    assert redacted_override(override) == override


def test_what_lies_below_a_secret_is_secret():
    assert redacted({"api_key": {"value": "abc", "more": ["d"]}}) == {
        "api_key": {"value": HIDDEN, "more": [HIDDEN]}
    }


@pytest.mark.parametrize(
    "line",
    [
        "+API_KEY = 'not-a-long-one'",
        '+  "password": "correct horse battery"',
        "+secret_name: 0123456789abcdef",
        *(f"+x = f({secret})" for secret in SECRETS),
        "+-----BEGIN RSA PRIVATE KEY-----\n+MIIE\n+-----END RSA PRIVATE KEY-----",
    ],
)
def test_literals_in_a_diff_are_hidden(line):
    told = redacted_text(f" context\n{line}\n")
    assert HIDDEN in told
    for secret in ("not-a-long-one", "correct horse", "0123456789abcdef", "MIIE", *SECRETS):
        assert secret not in told


@pytest.mark.parametrize(
    "line", ["+tokens = tokenizer.encode(text)", "+token: Tensor", "+def secret(key): ...", "+x=1"]
)
def test_code_stays_code(line):
    assert redacted_text(line) == line


@pytest.mark.parametrize(
    "key",
    ["accessToken", "githubToken", "apiKey", "sshKey", "OPENAI_KEY", "GITHUB_PAT", "SSHPASS",
     "license_key", "passcode", "bearer", "a.authToken.value"],
)  # fmt: skip
def test_usual_names_of_secrets(key):
    assert is_secret(key)
    assert hidden(f"+{key}=hunter seed=1") == f"+{key}={HIDDEN} seed=1"


@pytest.mark.parametrize(
    "key", ["key", "tokenizer", "keys.order", "monkey", "pattern", "keyframe", "path"]
)
def test_other_names(key):
    assert not is_secret(key)
    assert hidden(f"{key}=hunter") == f"{key}=hunter"


@pytest.mark.parametrize(
    "text",
    ["eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4", "AIza" + "a1" * 17, "npm_" + "a1" * 18,
     "Authorization: Basic dXNlcjpodW50ZXI="],
)  # fmt: skip
def test_more_shapes_of_secrets(text):
    assert HIDDEN in hidden(f"see {text} there")


@pytest.mark.parametrize(
    "text",
    ["a/" * 50_000, "/" * 30_000 + "passw." * 30_000, "token=[" * 10_000, "a=\"" * 20_001,
     "://" * 30_000, "api_key" * 20_000],
)  # fmt: skip
def test_the_time_is_proportional_to_the_length(text):
    """A message may quote a file of somebody else; the hiding of one of 16 kB took minutes."""
    assert hidden(f"got {text}")
