"""The PyTensor Op that predicts every observation of a design, and its gradient.

Both Ops are thin: they copy the parameters into one matrix and call the kernels that `compiled.py` gives. The
numba linker (nutpie) compiles the call into the log density; PyMC's own sampler uses `perform`; JAX
samplers reach the same machine code through a callback (`jax_callback.py`).

The schedule enters as constants of the graph, which halves what nutpie compiles at every start; a large
one as shared variables, so that nothing copies it into machine code.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, disconnected_type
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_and_cache_key

from popbayes.data.design import Design
from popbayes.engine.buffers import Buffer, as_tuple
from popbayes.engine.compiled import kernels_of, with_covariates
from popbayes.engine.declaration import LinearDeclaration, used_channels
from popbayes.engine.jax_callback import register_if_loaded
from popbayes.engine.ode_declaration import columns
from popbayes.engine.schedule import Features, Schedule, Way
from popbayes.engine.specialise import Kernel, compile_source
from popbayes.engine.switches import switches

SCHEDULE = "n_obs, ptr, ri, rt, si, sf, sptr"
N_SCHEDULE = 7
KEPT = "coefs, kept, streams, log"
MOST_CONSTANT_BYTES = 2**20


def _theta_lines(names: Sequence[str]) -> list[str]:
    return [
        f"theta = np.empty((p_{names[0]}.shape[0], {len(names)}), np.float64)",
        "for k in range(theta.shape[0]):",
        *(f"    theta[k, {i}] = p_{name}[k]" for i, name in enumerate(names)),
    ]


def _scratch(buffers: Sequence[Buffer]) -> str:
    """The last argument of a kernel that writes over these arrays."""
    return f", {as_tuple(buffers)}" if buffers else ""


@cache
def _predict_kernel(op: "_StructuralOp") -> Kernel:
    """``predict(p_..., schedule)`` -> predictions and what the gradient needs."""
    kernels = op.kernels
    names = kernels.parameters
    lines = [
        *_theta_lines(names),
        f"pred = {Buffer('observation').text}",
        *(f"{name} = {one.text}" for name, one in zip(KEPT.split(", "), kernels.layout.kept, strict=True)),
        f"forward(theta, ptr, ri, rt, si, sf, sptr, pred, {KEPT}{_scratch(kernels.layout.scratch)})",
        f"return pred, {KEPT}",
    ]
    arguments = ", ".join(f"p_{n}" for n in names)
    source = f"def predict({arguments}, {SCHEDULE}):\n    " + "\n    ".join(lines) + "\n"
    return compile_source(source, "predict", {"forward": kernels.forward}, entry=True)


@cache
def _pull_kernel(op: "_StructuralOp") -> Kernel:
    """``pull_predict(p_..., schedule, gpred, kept)`` -> derivatives by each parameter vector."""
    kernels = op.kernels
    names = kernels.parameters
    scratch = _scratch(kernels.layout.pull_scratch)
    lines = [
        *_theta_lines(names),
        f"gtheta = {Buffer('segment', width=len(names)).text}",
        "for k in range(gtheta.shape[0]):",
        f"    for j in range({len(names)}):",
        "        gtheta[k, j] = 0.0",
        f"pull(theta, ptr, ri, rt, si, sf, sptr, gpred, {KEPT}, gtheta{scratch})",
        *(f"g_{n} = gtheta[:, {i}].copy()" for i, n in enumerate(names)),
        # of an Op with one output numba's linker expects the array itself
        "return " + ", ".join(f"g_{n}" for n in names),
    ]
    arguments = ", ".join(f"p_{n}" for n in names)
    source = f"def pull_predict({arguments}, {SCHEDULE}, gpred, {KEPT}):\n    " + "\n    ".join(lines) + "\n"
    return compile_source(source, "pull_predict", {"pull": kernels.pull}, entry=True)


class _StructuralOp(Op):
    """What both Ops share: they are equal if they solve the same model in the same way."""

    __props__ = ("structural", "outputs", "channels", "features")

    def __init__(
        self,
        structural: LinearDeclaration,
        outputs: tuple[str, ...],
        channels: tuple[str, ...],
        features: Features,
    ):
        self.structural = structural
        self.outputs = outputs
        self.channels = channels
        self.features = features

    @property
    def kernels(self) -> Any:
        """Compiled functions of the model."""
        return kernels_of(self.structural, self.outputs, self.channels, self.features)

    @abstractmethod
    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Call the compiled kernel on numpy arrays."""

    def perform(self, node: Apply, inputs: Sequence[np.ndarray], output_storage: Any) -> None:
        """Evaluate with the compiled kernels."""
        for cell, value in zip(output_storage, self.run(*inputs), strict=True):
            cell[0] = value

    def kept_shapes(self, n_segment: Any, n_record: Any, n_stream: Any) -> list[tuple[Any, ...]]:
        """Shapes of what the forward walk keeps for the adjoint."""
        sizes = {"segment": n_segment, "record": n_record, "stream": n_stream}
        return [one.shape(sizes) for one in self.kernels.layout.kept]

    @property
    def adjoint(self) -> "PullPredict":
        """The Op of the gradient."""
        return PullPredict(self.structural, self.outputs, self.channels, self.features)

    @property
    def n_inputs(self) -> int:
        """Number of parameter vectors and arrays of the schedule."""
        return self.n_parameters + N_SCHEDULE

    @property
    def n_parameters(self) -> int:
        """Number of parameter vectors among the inputs."""
        return len(columns(self.structural))


class Predict(_StructuralOp):
    """Predictions of all observations from one vector (n_segment,) for each parameter.

    The first output is the prediction (n_obs,); the others are kept for the gradient.
    """

    def make_node(self, *inputs: Any) -> Apply:
        """Inputs: the parameters in the model's order, then the arrays of a schedule."""
        variables = [pt.as_tensor_variable(x) for x in inputs]
        for v in variables[: self.n_parameters]:
            if v.type.ndim != 1 or v.type.dtype != "float64":
                raise TypeError(f"A parameter must be a float64 vector over segments; got {v.type} for {v}.")
        # lengths that are known now need no check in the compiled code, which takes a second to compile
        n_obs = variables[self.n_parameters]
        length = int(n_obs.data) if isinstance(n_obs, Constant) else None
        prediction = pt.tensor("pred", dtype="float64", shape=(length,))
        outputs = [prediction, *(pt.matrix(dtype="float64") for _ in range(3))]
        register_if_loaded(Predict, PullPredict)
        return Apply(self, variables, [*outputs, pt.matrix(dtype="int64")])

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Call the forward kernel on numpy arrays."""
        n = self.n_parameters
        return _predict_kernel(self)(*map(np.ascontiguousarray, inputs[:n]), *inputs[n:])

    def infer_shape(self, node: Apply, shapes: Any) -> list[tuple[Any, ...]]:
        """Shapes without evaluating: only the prediction's is ever asked for."""
        n = self.n_parameters
        return [(node.inputs[n],), *self.kept_shapes(shapes[0][0], shapes[n + 3][0], shapes[n + 4][0])]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangents of the parameters; the schedule is data."""
        if isinstance(cotangents[0].type, DisconnectedType):
            return [disconnected_type() for _ in inputs]
        pulled = self.adjoint(*inputs, cotangents[0], *outputs[1:], return_list=True)
        return [*pulled, *(disconnected_type() for _ in inputs[self.n_parameters :])]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Only the prediction depends on the parameters in the sense of a gradient."""
        n = self.n_parameters
        return [[i < n and j == 0 for j in range(len(node.outputs))] for i in range(len(node.inputs))]


class PullPredict(_StructuralOp):
    """Gradient of `Predict`: derivatives by each parameter vector."""

    def make_node(self, *inputs: Any) -> Apply:
        """Inputs: those of `Predict`, the predictions' cotangent, and `Predict`'s further outputs."""
        variables = [pt.as_tensor_variable(x) for x in inputs]
        outputs = [
            pt.tensor(f"g_{name}", dtype="float64", shape=own.type.shape)
            for name, own in zip(columns(self.structural), variables, strict=False)
        ]
        return Apply(self, variables, outputs)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Call the adjoint kernel on numpy arrays."""
        found = _pull_kernel(self)(*inputs)
        return found if isinstance(found, tuple) else (found,)

    def infer_shape(self, node: Apply, shapes: Any) -> list[tuple[Any, ...]]:
        """One value for each segment."""
        return [tuple(shapes[0]) for _ in node.outputs]


@register_funcify_and_cache_key(Predict)
def _funcify_predict(op: Predict, node: Apply, **kwargs: Any) -> tuple[Any, str | None]:
    kernel = _predict_kernel(op)
    return kernel.function, kernel.key if kernel.cached else None


@register_funcify_and_cache_key(PullPredict)
def _funcify_pull(op: PullPredict, node: Apply, **kwargs: Any) -> tuple[Any, str | None]:
    kernel = _pull_kernel(op)
    return kernel.function, kernel.key if kernel.cached else None


Output = str | Mapping[int, str] | None
"""What is observed: one output, an output for each DVID, or (None) the model's first."""


@dataclass(frozen=True)
class Route:
    """How a model meets a data set: what is observed, the ways in that are used, the events."""

    outputs: tuple[str, ...]
    channels: tuple[str, ...]
    schedule: Schedule


def route(structural: LinearDeclaration, design: Design, output: Output = None) -> Route:
    """Lay the events of `design` out for `structural`; done once and remembered as long as `design` lives.

    Raises
    ------
    ValueError
        The model has no such output, or a DVID of the observations is given none.
    """
    kind = tuple(output.items()) if isinstance(output, Mapping) else output
    known = _ROUTES.setdefault(design, {})
    if (structural, kind) not in known:
        known[structural, kind] = _route(structural, design, output)
    return known[structural, kind]


_ROUTES: WeakKeyDictionary[Design, dict[Any, Route]] = WeakKeyDictionary()


def _route(structural: LinearDeclaration, design: Design, output: Output) -> Route:
    """Lay the events out."""
    outputs, number = _outputs(structural, design, output)
    labels = [str(c) for c in np.unique(design.cmt[design.is_dose])]
    channels = used_channels(structural, labels)
    ways = {
        label: [
            Way(
                channels.index(name),
                structural.channels[name].zero_order,
                structural.channels[name].stages is not None,
            )
            for name in structural.ways_in(label)
        ]
        for label in labels
    }
    off = switches(design, structural.compartments, structural.states)
    return Route(outputs, channels, Schedule.of(design, ways, number, off))


def _outputs(
    structural: LinearDeclaration, design: Design, output: Output
) -> tuple[tuple[str, ...], dict[int, int] | None]:
    """Outputs that are observed, and DVID -> which of them."""
    outputs: tuple[str, ...]
    if output is None or isinstance(output, str):
        outputs, number = (output or structural.outputs[0],), None
    else:
        outputs = tuple(dict.fromkeys(output.values()))
        seen = {int(d) for d in np.unique(design.dvid[design.record_obs >= 0])}
        missing = sorted(seen.difference(output))
        if missing:
            raise ValueError(
                f"There are observations with DVID {', '.join(map(str, missing))}, "
                "to which no output is given."
            )
        number = {dvid: outputs.index(name) for dvid, name in output.items()}
    unknown = [name for name in outputs if name not in structural.outputs]
    if unknown:
        raise ValueError(
            f"{type(structural).__name__} has no output {unknown[0]!r}; "
            f"it has {', '.join(structural.outputs)}."
        )
    return outputs, number


def predict(
    structural: LinearDeclaration,
    design: Design,
    theta: Mapping[str, Variable],
    output: Output = None,
) -> Variable:
    """Prediction of every observation, as a differentiable PyTensor vector.

    Parameters
    ----------
    structural
        The model's declaration.
    design
        Records and segments.
    theta
        Parameter -> vector (n_segment,).
    output
        What is observed: the name of an output, or a mapping DVID -> output; None: the model's first
        output.

    Returns
    -------
    (n_obs,) vector
    """
    way = route(structural, design, output)
    op = Predict(structural, way.outputs, way.channels, way.schedule.features)
    vectors = with_covariates(structural, design, theta)
    return op(*vectors, *_as_inputs(way.schedule), return_list=True)[0]


def _as_inputs(schedule: Schedule) -> list[Variable]:
    """The schedule as constants of the graph, or as shared variables where it is large."""
    arrays = [np.asarray(a) for a in (np.int64(schedule.n_obs), *schedule.arrays)]
    hold = pt.constant if sum(a.nbytes for a in arrays) < MOST_CONSTANT_BYTES else pytensor.shared
    return [hold(a, name=f"schedule_{n.strip()}") for n, a in zip(SCHEDULE.split(","), arrays, strict=True)]
