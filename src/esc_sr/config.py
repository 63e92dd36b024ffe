"""The only reader of `conf/`: find it, compose it, build from it, run a command with it."""

from __future__ import annotations

import difflib
import inspect
import io
import os
import pkgutil
import platform
import re
import secrets
import sys
import traceback
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from esc_sr.errors import InputError, first_line, printable, system_error
from esc_sr.files import fault_of_file, write_atomically
from esc_sr.launching import ENDED, JobFailed, leave_note, take_notes, unseen
from esc_sr.output import OutputError
from esc_sr.runs.redaction import hidden, redacted
from esc_sr.yaml_text import check_aliases

if TYPE_CHECKING:
    from omegaconf import DictConfig

_MOST_BYTES_OF_YAML = 2**20  # those of this package have a few thousand


def conf_dir() -> Path:
    """Return the absolute path of `conf/`: the installed wheel's, else the repository's.

    Raises:
        FileNotFoundError: The installation is broken.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no conf/ beside {package}; reinstall esc-sr")


def compose_config(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a primary configuration as the command line would.

    Args:
        config_name: A YAML at the top of `conf/`, e.g. "train".
        overrides: As on the command line, e.g. `["model=esc_lt", "scale=2"]`.

    Returns:
        The composed configuration, interpolations unresolved.

    Raises:
        InputError: An override names an unknown key or choice.
    """
    from hydra import compose
    from hydra.errors import HydraException

    try:
        with _initialized():
            return compose(config_name, overrides=_with_packages(overrides))
    except HydraException as error:
        raise InputError(_explain(error, config_name)) from error


# Groups within groups, which Hydra knows by the place of their values too.
_PLACES = {"attention/bias": "model.attention.bias"}


def _with_packages(overrides: Sequence[str]) -> list[str]:
    """Complete `attention/bias=…` to the name by which Hydra knows the group."""
    completed = list(overrides)
    for i, override in enumerate(overrides):
        group, equals, value = override.partition("=")
        if equals and group.lstrip("+~") in _PLACES:
            completed[i] = f"{group}@{_PLACES[group.lstrip('+~')]}={value}"
    return completed


@contextmanager
def _initialized() -> Iterator[None]:
    """Let Hydra find `conf/`, whether or not this is called inside a Hydra application."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.initialize import get_gh_backup, restore_gh_from_backup

    if GlobalHydra.instance().is_initialized():
        paths = GlobalHydra.instance().config_loader().get_search_path().get_path()
        if any(str(path.path).endswith(str(conf_dir())) for path in paths):
            yield  # a command of ours, with the folders that --config-dir has added
            return
    backup = get_gh_backup()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
            yield
    finally:
        restore_gh_from_backup(backup)


def instantiate(node: Any) -> Any:
    """Build what a `_target_` node describes; constructors get plain Python values.

    Args:
        node: A node of a composed configuration; None stays None. A `_partial_` node gives a
            callable that translates errors in the same way.

    Returns:
        The object.

    Raises:
        InputError: The constructor refused the values, or does not know one of the keys.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate

    try:
        built = hydra_instantiate(node, _convert_="all")
    except InstantiationException as error:
        where = re.search(r"full_key: (\S+)", str(error))
        key = where.group(1) if where else "configuration"
        raise _translated(error.__cause__ or error, key, node) from None
    except (TypeError, ValueError) as error:  # of Hydra itself, about flags such as _recursive_
        raise InputError(_squeeze(str(error))) from None
    if isinstance(built, partial):
        return _translating(built, str(node._get_full_key(None)), node)
    return built


def target_of(node: DictConfig) -> Callable[..., Any]:
    """Return the class or function that a node names.

    Args:
        node: A node with a `_target_`.

    Raises:
        InputError: It cannot be imported.
    """
    key = f"{node._get_full_key('_target_')}={node._target_}"
    try:
        found = pkgutil.resolve_name(node._target_)
    except Exception as error:  # whatever the module raises when it is imported
        raise InputError(
            f"{key} cannot be imported "
            f"({_squeeze(str(error))}); give package.module.Class of an installed package or of "
            "a module in the current folder"
        ) from None
    if not callable(found):
        raise InputError(f"{key} is neither a class nor a function, but a {type(found).__name__}")
    return found


def _translating(factory: Callable[..., Any], key: str, node: Any) -> Callable[..., Any]:
    def build(*args: Any, **kwargs: Any) -> Any:
        try:
            return factory(*args, **kwargs)
        except Exception as error:
            raise _translated(error, key, node) from None

    return build


def _translated(error: BaseException, key: str, node: Any) -> BaseException:
    """Make an `InputError` that names the key of what a constructor refused; else the error."""
    refused = type(error).__name__ == "MisconfigurationException"
    if isinstance(error, InputError):
        return error
    if refused or isinstance(error, TypeError | ValueError | ModuleNotFoundError):
        text = _squeeze(str(error))
        told = InputError(f"{key}: {'; '.join([*_no_texts(node, key), text])}")
        told.__cause__ = error
        return told
    return error


def _no_texts(node: Any, key: str) -> Iterator[str]:
    """Say which values are texts where the constructor of a node wants something else."""
    from omegaconf import OmegaConf

    try:
        described = OmegaConf.select(node._get_root(), key) or node
        hints = typing.get_type_hints(
            target if inspect.isfunction(target := target_of(described)) else target.__init__
        )
        values = OmegaConf.to_container(described, resolve=True)
    except Exception:  # what it is about has been told
        return
    for name, value in values.items() if isinstance(values, dict) else ():
        kinds = typing.get_args(hints.get(str(name))) or (hints.get(str(name)),)
        if isinstance(value, str) and {int, float, bool} & set(kinds) and str not in kinds:
            yield f"{name}={value!r} is a text"


def hydra_main(
    config_name: str, task: Callable[[DictConfig], Any], arguments: Sequence[str]
) -> None:
    """Run a command: compose `conf/<config_name>.yaml` with its arguments, hand it to `task`.

    What is the user's to mend is told in one line on standard error, with exit status 1. Set
    `HYDRA_FULL_ERROR=1` to see tracebacks instead. A job of a multirun that fails leaves the others
    to go on; the failures are listed at the end, also where a launcher has put the jobs into other
    processes or onto other machines.

    Args:
        config_name: A YAML at the top of `conf/`.
        task: Called with the composed configuration, once for each job of a multirun.
        arguments: What stands on the command line behind the command's name.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    asked = os.environ.get("HYDRA_FULL_ERROR")
    arguments = list(arguments)

    jobs: list[str | None] = []  # of a multirun in this process, with what has failed
    # What jobs in other processes have to say is left in files: launchers tell of the first only.
    here, notes = (platform.node(), os.getpid()), f".failed-{secrets.token_hex(4)}"

    def tell(text: str) -> None:
        line = printable(hidden(text, arguments))
        line = line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"
        sys.stderr.write(f"esc-sr: error: {line}\n")

    def leave(error: BaseException) -> NoReturn:
        if asked == "1":
            raise error
        if not isinstance(error, OutputError):  # told at the end of the command
            tell(_explain(error, config_name))
        sys.exit(1)

    def fail(error: BaseException) -> NoReturn:
        """End a job: of a multirun alone, else the command."""
        name = jobs[-1] = name_of_job()
        if name is None:
            leave(error)
        if asked == "1":
            raise error
        text = _explain(error, config_name)
        tell(f"{name}: {text}")
        # A new one, without the frames of the other, which hold a network.
        failed = JobFailed(f"{name} failed")
        if (platform.node(), os.getpid()) != here:
            config = HydraConfig.get()
            failed.notes = str(Path(config.sweep.dir).absolute() / notes)
            leave_note(Path(failed.notes), config.job.num, name, text)
        raise failed from None

    def name_of_job() -> str | None:
        """Name a multirun's job by its number and by what is not on the command line as it is."""
        hydra = HydraConfig.get()
        if hydra.mode != RunMode.MULTIRUN:
            return None
        given = {argument.casefold() for argument in complete}
        own = [one for one in hydra.overrides.task if one.casefold() not in given]
        return f"job {hydra.job.num}" + (f" ({', '.join(own)})" if own else "")

    def hydra_raises() -> None:
        # Else Hydra itself would print several lines and leave.
        os.environ["HYDRA_FULL_ERROR"] = "1"

    def restore() -> None:
        os.environ.pop("HYDRA_FULL_ERROR", None)
        if asked is not None:
            os.environ["HYDRA_FULL_ERROR"] = asked

    command_line = sys.argv
    # Hydra reads the arguments from there, and wants its flag before the overrides.
    complete = _with_packages(arguments)
    multirun_first = sorted(complete, key=lambda argument: argument not in ("-m", "--multirun"))
    sys.argv = [command_line[0], *multirun_first]

    def job(config: DictConfig) -> Any:
        # Lightning starts the other processes of a run with the command line and the environment
        # of this one.
        sys.argv = command_line
        restore()
        jobs.append(None)
        try:
            _hide_secrets(arguments)
            _check_roots(config, config_name)
            _check_folders(config)
            OmegaConf.set_readonly(config, True)
            return task(config)
        except told as error:
            fail(error)
        except Exception as error:
            # What the other processes of a run see when one of them has left.
            if "closed by peer" in str(error) or "reset by peer" in str(error):
                leave(InputError("another process of this run stopped; its message stands above"))
            if name_of_job() is None:
                raise
            traceback.print_exception(error)
            where = f"the log in {HydraConfig.get().sweep.dir}/.submitit" if unseen() else "above"
            fail(InputError(f"{type(error).__name__}, see {where}"))
        finally:
            hydra_raises()

    told = (InputError, HydraException, OmegaConfBaseException, OSError)
    main = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)
    hydra_raises()
    try:
        _check_options(config_name, multirun_first)
        _check_own_files(complete)
        with _shown_without_secrets(arguments):
            main(job)()
    except yaml.YAMLError as error:
        leave(InputError(_unreadable_yaml(error)))
    except told as error:
        if isinstance(error, OSError):
            _clear_away_what_is_cut(error)
        failed = [job for job in jobs if job is not None]
        if isinstance(error, JobFailed) and error.notes:
            for name, text in take_notes(Path(error.notes)):
                failed.append(name)
                if text:  # nobody has seen it
                    tell(f"{name}: {text}")
            count = "one job" if len(failed) == 1 else f"{len(failed)} jobs"
            leave(InputError(f"{count} failed: {'; '.join(failed)}"))
        if not failed:
            leave(error)
        leave(InputError(f"{len(failed)} of {len(jobs)} jobs failed: {'; '.join(failed)}"))
    except RecursionError:
        if jobs:
            raise
        leave(InputError("the configuration is nested too deeply, or holds itself: see defaults"))
    except RuntimeError as error:
        if 'detect "srun"' in str(error):
            leave(InputError("there is no srun here: call this on a machine of a SLURM cluster"))
        if type(error).__name__ not in ENDED:
            raise
        leave(
            InputError(
                "the process of a job ended before the job did, killed or out of memory or time: "
                f"{next(iter(str(error).strip().splitlines()), type(error).__name__)}"
            )
        )
    except ValueError as error:
        if jobs:
            raise
        if isinstance(error.__cause__, OSError):  # of a log, which logging does not name
            leave(error.__cause__)
        if "Config group override" in str(error):
            group = _group_without_name(complete)
            leave(
                InputError(f"{group} cannot be chosen: name a file of it, or leave it out with ~")
            )
        # Of Hydra, about a file's defaults list, or because a file is no UTF-8.
        leave(InputError(f"{_file_being_read(error)}{_squeeze(str(error))}"))
    finally:
        sys.argv = command_line
        restore()


@contextmanager
def _shown_without_secrets(arguments: Sequence[str]) -> Iterator[None]:
    """Hide secrets in a configuration that is to be printed."""
    options = {argument.partition("=")[0] for argument in arguments}
    if not options & {"--cfg", "-c", "--info", "-i"}:
        yield
        return
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        sys.stdout.write(_yaml_without_secrets(printed.getvalue(), arguments))


def _yaml_without_secrets(text: str, overrides: Sequence[str]) -> str:
    """Hide secrets in YAML; what holds none, and what is no YAML of keys, stays as it is."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict | list):
        return hidden(text, overrides)
    safe = redacted(content, overrides=overrides)
    if safe == content:
        return text
    return yaml.safe_dump(safe, sort_keys=False, allow_unicode=True, width=1000)


def _hide_secrets(arguments: Sequence[str]) -> None:
    """Take secrets of the command line out of the files that Hydra has just written."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    hydra = HydraConfig.get()
    files = []
    if hydra.output_subdir is not None:
        files += sorted((Path(hydra.runtime.output_dir) / hydra.output_subdir).glob("*.yaml"))
    if not OmegaConf.is_missing(hydra.sweep, "dir"):
        files.append(Path(hydra.sweep.dir) / "multirun.yaml")
    for path in files:
        with suppress(OSError):  # a job on another machine, or none was written
            text = path.read_text(encoding="utf-8")
            safe = _yaml_without_secrets(text, [*arguments, *hydra.overrides.task])
            if safe != text:
                write_atomically(path, safe)


def _check_options(config_name: str, arguments: Sequence[str]) -> None:
    """Refuse options that Hydra does not know in one line, where it would show all of them."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        command = config_name.replace("_", "-")
        sys.stderr.write(f"esc-sr: error: {printable(message)}; see esc-sr {command} --help\n")
        sys.exit(2)

    parser = get_args_parser()
    parser.error = refuse
    if "--version" not in arguments:
        parser.parse_args(list(arguments))


def _check_own_files(arguments: Sequence[str]) -> None:
    """Look at the user's own configuration files for those that are none or multiply themselves.

    Raises:
        InputError: There is one.
    """
    for argument, after in zip(arguments, [*arguments[1:], ""], strict=False):
        option, equals, value = argument.partition("=")
        if option not in ("--config-dir", "-cd"):
            continue
        folder = Path(value if equals else after)
        for path in sorted(folder.rglob("*.yaml")) if folder.is_dir() else ():
            if not path.exists() or path.is_dir():
                continue
            fault = fault_of_file(path, most_bytes=_MOST_BYTES_OF_YAML)
            if fault is not None:
                raise InputError(f"{path} {fault}: no configuration")
            check_aliases(path.read_text(encoding="utf-8", errors="replace"), path)


def _check_roots(config: DictConfig, config_name: str) -> None:
    """Refuse keys at the root that nobody asks for, as a misspelt one in a user's own file.

    Hydra refuses unknown keys of a command line only. A key that is interpolated elsewhere has a
    use, and one that was added by `+key=…` is meant.

    Raises:
        InputError: There is one.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    known = _root_keys(config_name)
    unknown = {str(key) for key in config} - known
    if not unknown:
        return
    known |= {str(key) for key in compose_config(config_name)}
    overrides = HydraConfig.get().overrides.task
    known |= {re.split(r"[.=@]", one.lstrip("+"))[0] for one in overrides if one[0] == "+"}
    text = OmegaConf.to_yaml(config, resolve=False)
    for key in sorted(unknown - known):
        if re.search(r"\$\{" + re.escape(key) + r"[.\[}]", text):
            continue
        close = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.6)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise InputError(
            f"unknown key '{key}' in a configuration file; {hint}"
            f"`esc-sr {config_name} --cfg job` lists every key"
        )


def _root_keys(config_name: str) -> set[str]:
    """Return the keys and groups of a primary configuration, without composing it."""
    own = yaml.safe_load((conf_dir() / f"{config_name}.yaml").read_text(encoding="utf-8"))
    keys = {str(key) for key in own} - {"defaults"}
    for one in own["defaults"]:
        if isinstance(one, dict):
            keys |= {str(key) for key in one}
        elif one != "_self_":  # another primary configuration, of which this is a variant
            keys |= _root_keys(one)
    return keys


# Of an error, which may quote a file that somebody else has written.
_LONGEST_LINE = 2000
# Of `conf/train.yaml`: where training starts or goes on.
_FILES = {"init_from", "ckpt_path"}


def _check_folders(config: DictConfig) -> None:
    """Take folders and files called by a number for what they are, refuse what is no path.

    Raises:
        InputError: Something else than a path is given for one.
    """
    from omegaconf import OmegaConf

    for node in (config, config.get("paths")):
        for key in node or ():
            is_folder = str(key).endswith("_dir")
            if not (is_folder or key in _FILES) or OmegaConf.is_missing(node, key):
                continue
            value = node[key]
            if isinstance(value, int) and not isinstance(value, bool):
                node[key] = str(value)
            elif value is not None and not isinstance(value, str):
                what = "folder" if is_folder else "file"
                raise InputError(f"{key} must be a {what}, got {value}")


def _explain(error: BaseException, config_name: str) -> str:
    """Say in one line which key or choice is wrong and what would be right."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        return system_error(error)
    if text.startswith("Caught ") and "in DataLoader worker" in text:
        # A worker's error carries its traceback; the last line is the error itself.
        return text.strip().splitlines()[-1].partition(": ")[2]
    unknown = re.search(r"Could not override '([^']+)'", text)
    if config_name == "search" and (unknown or "No match in the defaults list" in text):
        key = unknown.group(1) if unknown else text.split("'")[1]
        return (
            f"unknown key '{key}'; `esc-sr search --cfg job` lists every key, and what is meant "
            f"for the trials stands behind --, as in: esc-sr search space=quickstart -- {key}=..."
        )
    if unknown and "is not in struct" in f"{text} {error.__cause__}":
        key = unknown.group(1)
        known = set(_known_keys(config_name))
        close = difflib.get_close_matches(key, sorted(known - {key}), n=1, cutoff=0.75)
        hint = f"did you mean '{close[0]}'? " if close else ""
        if key in known:
            hint = "it belongs to a choice of another group than the ones made here; "
        elif key.startswith("model.attention."):
            hint = "the attention chosen here has no such setting; "
        return (
            f"unknown key '{key}'; {hint}"
            f"`esc-sr {config_name} --cfg job` lists every key, and +{key}=... adds a new one"
        )
    nested = re.search(r"Could not override '(\w+)/(\w+)@", text)
    if nested:
        group, part = nested.groups()
        return (
            f"'{group}/{part}' cannot be chosen here: the {group} chosen has no {part}; "
            f"name one that has, e.g. {group}=sdpa {group}/{part}=fourier"
        )
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        key = getattr(error, "full_key", None) or missing.group(1)
        return f"'{key}' has no default: give it on the command line, {key}=VALUE"
    plugin = re.search(r"Could not find 'hydra/(launcher|sweeper)/", text)
    if plugin:
        return f"{_squeeze(text)}; more {plugin.group(1)}s: pip install 'esc-sr[sweep]'"
    if type(error).__name__ == "OverrideParseException":
        return f"{_squeeze(text)}; quote values with spaces or signs: 'key=\"a value\"'"
    return _squeeze(text)


def _unreadable_yaml(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = f"{mark.name}, line {mark.line + 1}" if mark else getattr(error, "name", "YAML")
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or first_line(error)
    return f"cannot read {where}: {_squeeze(str(what))}"


def _group_without_name(arguments: Sequence[str]) -> str:
    """Find the argument that chooses null or a number of a group of `conf/`."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        is_group = key.isidentifier() and (conf_dir() / key).is_dir()
        if is_group and re.fullmatch(r"null|true|false|[-+.\d]+|\{.*", value, re.IGNORECASE):
            return argument
    return "a group that is null or a number"


def _file_being_read(error: BaseException) -> str:
    """Name the file that Hydra was reading when something was raised that does not name it."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        path = frame.f_locals.get("full_path")
        if frame.f_code.co_name == "load_config" and isinstance(path, str):
            return f"cannot read {path}: "
    return ""


def _clear_away_what_is_cut(error: OSError) -> None:
    """Name the file that Hydra could not write to its end, and remove what there is of it."""
    if error.filename is not None:
        return
    for frame, _ in traceback.walk_tb(error.__traceback__):
        names = frame.f_locals
        where = (frame.f_globals.get("__name__"), frame.f_code.co_name)
        if where == ("hydra.core.utils", "_save_config"):  # one of `.hydra/`
            path = Path(names["output_dir"], names["filename"])
        elif where == ("omegaconf.omegaconf", "save"):  # `multirun.yaml`
            path = Path(names["f"])
        else:
            continue
        error.filename = str(path)
        with suppress(OSError):
            path.unlink()


def _known_keys(config_name: str) -> Iterator[str]:
    from omegaconf import DictConfig

    def walk(node: DictConfig, prefix: str) -> Iterator[str]:
        for key in node:
            yield f"{prefix}{key}"
            child = node._get_node(key)
            if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
                yield from walk(child, f"{prefix}{key}.")

    yield from walk(compose_config(config_name), "")


def _squeeze(text: str) -> str:
    """Put a message of several lines onto one, without Hydra's list of where it looked."""
    text = text.partition("Config search path")[0]
    lines = [line.strip() for line in text.splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith("object_type"))
