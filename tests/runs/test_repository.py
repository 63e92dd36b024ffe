import subprocess

import pytest

from esc_sr.runs.repository import repository_state


@pytest.fixture
def git(tmp_path, monkeypatch):
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    folder = tmp_path / "repository"
    folder.mkdir()

    def call(*arguments):
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)
        return done.stdout.decode().strip()

    call("init", "--quiet")
    (folder / "code.py").write_text("a = 1\n")
    (folder / "old name.py").write_text("moved\n" * 9)
    call("add", ".")
    call("commit", "--quiet", "-m", "first")
    call.folder = folder
    return call


def test_a_clean_repository_is_its_commit(git):
    (git.folder / "sub").mkdir()
    state = repository_state(git.folder / "sub")
    assert state.commit == git("rev-parse", "HEAD")
    assert (state.dirty, state.diff, state.untracked) == (False, None, ())


def test_what_is_not_committed_is_a_diff_that_applies(git):
    (git.folder / "code.py").write_bytes(b"a = 2  # \xe9\n")
    git("mv", "old name.py", "new name.py")
    (git.folder / "new.py").write_text("b = 1\n")
    state = repository_state(git.folder)
    assert state.dirty
    assert state.untracked == ("new.py",)
    git("reset", "--hard", "--quiet")
    patch = git.folder.parent / "dirty.diff"
    patch.write_bytes(state.diff.encode("utf-8", "surrogateescape"))
    git("apply", str(patch))
    assert (git.folder / "code.py").read_bytes() == b"a = 2  # \xe9\n"
    assert (git.folder / "new name.py").is_file()


def test_an_untracked_file_alone_is_no_difference(git):
    (git.folder / "new.py").write_text("b = 1\n")
    state = repository_state(git.folder)
    assert (state.dirty, state.diff, state.untracked) == (False, None, ("new.py",))


def test_secrets_stay_out_of_the_diff(git):
    for name in (".env", "my_secrets.yaml", "deploy.key"):
        (git.folder / name).write_text("before\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "second")
    for name in (".env", "my_secrets.yaml", "deploy.key"):
        (git.folder / name).write_text("hunter2\n")
    (git.folder / "code.py").write_text("api_key = '0123456789'\n")
    state = repository_state(git.folder)
    assert "hunter2" not in state.diff
    assert "0123456789" not in state.diff
    assert "+api_key = ***" in state.diff


def test_programs_that_a_repository_names_are_not_called(git):
    called = git.folder.parent / "called"
    for key in ("core.fsmonitor", "diff.external", "diff.x.textconv"):
        git("config", key, f"touch {called}; false")
    (git.folder / ".gitattributes").write_text("*.py diff=x\n")
    (git.folder / "code.py").write_text("a = 2\n")
    assert "+a = 2" in repository_state(git.folder).diff
    assert not called.exists()


def test_no_repository_no_commit_and_no_git(tmp_path, git, monkeypatch):
    assert repository_state(tmp_path) is None
    other = tmp_path / "package.py"
    other.write_text("")
    assert repository_state(git.folder, holding=other) is None
    assert repository_state(git.folder, holding=git.folder / "code.py") is not None
    empty = tmp_path / "empty"
    empty.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=empty, check=True)
    assert repository_state(empty).commit is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert repository_state(git.folder) is None
