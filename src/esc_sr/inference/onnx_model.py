"""Read what an ONNX file says of itself; nothing of it is computed, no weights are looked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from esc_sr.errors import InputError, first_line, printable, require_extra

_GIB = 2**30
_MAX_BYTES = 2**31 - 1  # of one protobuf message
_COLORS = 3
_INPUT_TYPES = {"float", "float16"}
# Of ONNX itself, or of onnxruntime's builds.
_KNOWN_DOMAINS = ("", "ai.onnx", "com.microsoft", "com.ms")
# What holds shapes and positions, not weights.
_NOT_WEIGHTS = {"int64", "int32", "bool", "string"}

Shape = tuple[int | str | None, ...]


@dataclass(frozen=True)
class Port:
    """An input or an output.

    Attributes:
        name: Its name.
        type: As ONNX calls it, such as "float", "float16" or "int64".
        shape: Numbers, names of what is open, None where nothing is said; None: not even the rank.
    """

    name: str
    type: str
    shape: Shape | None

    def __str__(self) -> str:
        sides = "any shape" if self.shape is None else f"({', '.join(map(_side, self.shape))})"
        return f"{self.name}: {self.type} {sides}"


@dataclass(frozen=True)
class OnnxModel:
    """What an ONNX file says, without its weights.

    Attributes:
        path: The file.
        producer: Program that wrote it, with its version; "" if it does not say.
        opsets: Versions of the sets of operators, by domain; "" is ONNX's own.
        inputs: Without those that have a default.
        outputs: All of them.
        metadata: Texts by name (`metadata_props`).
        parameters: Numbers in its weights.
        num_nodes: Operators in its graph, those within others not counted.
        foreign_operators: Such as "mine.Sharpen": neither ONNX's, nor onnxruntime's, nor made up
            of others in the file.
    """

    path: Path
    producer: str
    opsets: dict[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: dict[str, str]
    parameters: int
    num_nodes: int
    foreign_operators: tuple[str, ...]

    @property
    def interface_problem(self) -> str | None:
        """Say why it cannot enlarge pictures, as far as can be told without computing.

        Needed is one input `(B, 3, H, W)`, float32 or float16, and one output of four dimensions.
        """
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            return f"it has {len(self.inputs)} inputs and {len(self.outputs)} outputs"
        given, made = self.inputs[0], self.outputs[0]
        if given.type not in _INPUT_TYPES:
            return f"its input is {given.type}"
        shape = given.shape
        if shape is None:
            return "its input has any shape"
        if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != _COLORS):
            return f"its input has the shape ({', '.join(map(_side, shape))})"
        if shape[1] != _COLORS and shape[3] == _COLORS:
            return f"its input has the shape ({', '.join(map(_side, shape))}), channels last"
        if isinstance(shape[2], int) != isinstance(shape[3], int):
            return "it takes images of one height or width only, and of any in the other direction"
        if made.shape is not None and (
            len(made.shape) != 4 or (isinstance(made.shape[1], int) and made.shape[1] != _COLORS)
        ):
            return f"its output has the shape ({', '.join(map(_side, made.shape))})"
        return None


def read_onnx(path: str | Path) -> OnnxModel:
    """Read an ONNX file, and refuse one that is damaged or wants to read other folders.

    Args:
        path: The file. Weights beside it are not read, but must be there.

    Returns:
        What it says.

    Raises:
        MissingExtraError: The package onnx is not installed.
        InputError: There is no such file, it is no whole ONNX file, or weights that it keeps
            in other files are missing or outside its folder.
    """
    onnx = require_extra("onnx", "export")
    path = Path(path).expanduser()
    if path.is_dir():
        raise InputError(f"{path} is a folder; give an .onnx file in it")
    if not path.is_file():
        raise InputError(f"checkpoint not found: {path}")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"cannot read {path} as ONNX: it is empty")
    if size > _MAX_BYTES:
        raise InputError(
            f"cannot read {path} as ONNX: it has {size / _GIB:.1f} GiB, and an ONNX file at most "
            "2, with more weights in another file beside it"
        )
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # of protobuf, whose classes depend on how it was built
        raise InputError(
            f"cannot read {path} as ONNX: it is truncated, damaged or something else "
            f"({first_line(error)})"
        ) from error
    # Of nothing, or of the beginning of a file, protobuf makes a message without complaint.
    opsets = {one.domain: one.version for one in model.opset_import}
    if not model.graph.node or not opsets:
        lacks = "network" if not model.graph.node else "opset"
        raise InputError(f"cannot read {path} as ONNX: it holds no {lacks}, as a truncated file")
    graph, type_name = model.graph, onnx.TensorProto.DataType.Name
    tensors = list(_tensors(graph, model.functions))
    _check_external(path, tensors, external=onnx.TensorProto.EXTERNAL)
    with_default = {tensor.name for tensor in graph.initializer}
    own = {(function.domain, function.name) for function in model.functions}
    operators = {(node.domain, node.op_type) for node in _nodes(graph, model.functions)} - own
    return OnnxModel(
        path=path,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        opsets=opsets,
        inputs=tuple(_port(i, type_name) for i in graph.input if i.name not in with_default),
        outputs=tuple(_port(output, type_name) for output in graph.output),
        metadata={one.key: one.value for one in model.metadata_props},
        parameters=sum(
            math.prod(tensor.dims)
            for tensor in tensors
            if type_name(tensor.data_type).lower() not in _NOT_WEIGHTS
        ),
        num_nodes=len(graph.node),
        foreign_operators=tuple(
            sorted(f"{domain}.{name}" for domain, name in operators if _is_foreign(domain))
        ),
    )


def _is_foreign(domain: str) -> bool:
    return not any(
        domain == known or (known and domain.startswith(f"{known}.")) for known in _KNOWN_DOMAINS
    )


def _side(side: int | str | None) -> str:
    return "?" if side is None else str(side)


def _port(value: Any, type_name: Any) -> Port:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return Port(value.name, (kind or "unknown").removesuffix("_type"), None)
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return Port(value.name, type_name(tensor.elem_type).lower(), None)
    # Some writers say -1 for what is open.
    shape = tuple(
        dim.dim_value if dim.dim_value > 0 else dim.dim_param or None for dim in tensor.shape.dim
    )
    return Port(value.name, type_name(tensor.elem_type).lower(), shape)


def _nodes(graph: Any, functions: Iterable[Any]) -> Iterator[Any]:
    """Yield the operators of a graph and of functions, and those within them."""
    for holder in (graph, *functions):
        for node in holder.node:
            yield node
            for attribute in node.attribute:
                for inner in _graphs(attribute):
                    yield from _nodes(inner, ())


def _graphs(attribute: Any) -> list[Any]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _tensors(graph: Any, functions: Iterable[Any]) -> Iterator[Any]:
    """Yield all constants of a graph and of functions, wherever they are kept."""
    yield from _own_tensors(graph)
    for node in _nodes(graph, functions):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from _of_sparse(attribute.sparse_tensor)
            for sparse in attribute.sparse_tensors:
                yield from _of_sparse(sparse)
            for inner in _graphs(attribute):
                yield from _own_tensors(inner)


def _own_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from _of_sparse(sparse)


def _of_sparse(sparse: Any) -> tuple[Any, Any]:
    return sparse.values, sparse.indices


def _check_external(path: Path, tensors: Iterable[Any], *, external: int) -> None:
    """Refuse weights in other files that are missing, too short, or not in the file's folder.

    Raises:
        InputError: There are such.
    """
    folder = path.resolve().parent
    sizes: dict[str, int] = {}
    for tensor in tensors:
        if tensor.data_location != external:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        shown = printable(location)
        if location not in sizes:
            windows = PureWindowsPath(location)  # knows both kinds of slashes
            leaves = windows.drive or windows.root or ".." in windows.parts or "\0" in location
            target = None if leaves else (path.parent / location).resolve()
            if target is None or not target.is_relative_to(folder):
                raise InputError(
                    f"{path} wants to read weights from '{shown}', outside its folder: refused"
                )
            if not target.is_file():
                raise InputError(
                    f"{path} keeps weights in another file, '{shown}', which is not beside it"
                )
            sizes[location] = target.stat().st_size
        try:
            start, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
        except ValueError as error:
            raise InputError(f"cannot read {path} as ONNX: {first_line(error)}") from error
        if min(start, length) < 0 or start + length > sizes[location]:
            raise InputError(
                f"{path} keeps weights in '{shown}', which is shorter than they are: it is "
                "truncated, or of another network"
            )
