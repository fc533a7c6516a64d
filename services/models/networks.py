"""Networks over rows or sequences: the same lines are differentiated by JAX, evaluated by numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from domain.events import Floats
from services.models.libraries import load_library

CLASSES: Final = 3
OUT: Final = "out"  # the last layer
EPSILON: Final = 1e-5  # added to a variance
ROUNDS: Final = 8  # of a threshold; normal scores need five

Array = Any  # of `xp`: numpy, or jax.numpy while it is fitted
Weights = Mapping[str, Array]


class Network(Protocol):
    """An architecture; equal ones are one to who compiles them."""

    def __hash__(self) -> int: ...

    def shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """Layer → (inputs, outputs) where it is dense, (width,) where it is a norm."""
        ...

    def scores(self, xp: Any, weights: Weights, inputs: Array) -> Array:  # noqa: ANN401
        """Raw scores of the classes (n, 3); a row depends on that row alone.

        Inputs are (n, k), of networks over sequences (n, steps, k), the newest step last.
        """
        ...


def drawn(network: Network, inputs: int, start: Floats, rng: np.random.Generator) -> Weights:
    """Where a fit begins: every row has the scores `start` (3,).

    Dense layers are normal with variance 2 / inputs (He et al. 2015), the last one is 0.
    """
    weights: dict[str, Floats] = {}
    for name, shape in network.shapes(inputs).items():
        if len(shape) == 1:
            weights[f"{name}.gain"], weights[f"{name}.bias"] = np.ones(shape), np.zeros(shape)
            continue
        weights[f"{name}.weight"] = rng.normal(0.0, np.sqrt(2.0 / shape[0]), shape)
        weights[f"{name}.bias"] = np.zeros(shape[1])
    weights[f"{OUT}.weight"] = np.zeros_like(weights[f"{OUT}.weight"])
    weights[f"{OUT}.bias"] = start
    return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """Dense layers with ReLU between them."""

    width: int
    depth: int

    def shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        sizes = (inputs, *[self.width] * self.depth)
        hidden = {f"hidden{i}": sizes[i : i + 2] for i in range(self.depth)}
        return {**hidden, OUT: (self.width, CLASSES)}

    def scores(self, xp: Any, weights: Weights, inputs: Array) -> Array:  # noqa: ANN401
        for i in range(self.depth):
            inputs = xp.maximum(dense(weights, f"hidden{i}", inputs), 0.0)
        return dense(weights, OUT, inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNet:
    """Blocks x + dense(ReLU(dense(norm(x)))): Gorishniy et al. 2021.

    The norms are of a row's layer, not of a batch, and there is no dropout.
    """

    width: int
    depth: int  # blocks

    def shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {"in": (inputs, self.width)}
        for i in range(self.depth):
            found[f"norm{i}"] = (self.width,)
            found[f"wide{i}"] = (self.width, 2 * self.width)
            found[f"narrow{i}"] = (2 * self.width, self.width)
        return {**found, "norm": (self.width,), OUT: (self.width, CLASSES)}

    def scores(self, xp: Any, weights: Weights, inputs: Array) -> Array:  # noqa: ANN401
        carried = dense(weights, "in", inputs)
        for i in range(self.depth):
            wide = dense(weights, f"wide{i}", normed(xp, weights, f"norm{i}", carried))
            carried = carried + dense(weights, f"narrow{i}", xp.maximum(wide, 0.0))
        return dense(weights, OUT, xp.maximum(normed(xp, weights, "norm", carried), 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class TabNet:
    """Steps that each attend to some of the inputs, after Arik & Pfister 2021.

    A step has one shared and one own gated layer where the paper has two of each; norms are of
    a row's layer, not of a batch, and the loss has no term for sparsity.
    """

    width: int  # of a decision, and of what is carried to the next step
    depth: int  # steps
    relaxation: float  # how often an input may be attended to: the paper's γ

    def shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        carried, gated = 2 * self.width, 4 * self.width
        found: dict[str, tuple[int, ...]] = {"shared": (inputs, gated), "shared_norm": (gated,)}
        for i in range(self.depth + 1):
            found |= {f"own{i}": (carried, gated), f"own_norm{i}": (gated,)}
        for i in range(self.depth):
            found |= {f"attend{i}": (self.width, inputs), f"attend_norm{i}": (inputs,)}
        return {**found, OUT: (self.width, CLASSES)}

    def scores(self, xp: Any, weights: Weights, inputs: Array) -> Array:  # noqa: ANN401
        _, carried = self._step(xp, weights, 0, inputs)
        prior, total = xp.ones_like(inputs), 0.0
        for i in range(self.depth):
            wanted = normed(xp, weights, f"attend_norm{i}", dense(weights, f"attend{i}", carried))
            mask = sparsemax(xp, prior * wanted)
            prior = prior * (self.relaxation - mask)
            decision, carried = self._step(xp, weights, i + 1, mask * inputs)
            total = total + xp.maximum(decision, 0.0)
        return dense(weights, OUT, total)

    def _step(self, xp: Any, weights: Weights, i: int, inputs: Array) -> tuple[Array, Array]:  # noqa: ANN401
        """What a step decides, and what it carries on, each (n, width)."""
        shared = gate(xp, normed(xp, weights, "shared_norm", dense(weights, "shared", inputs)))
        own = gate(xp, normed(xp, weights, f"own_norm{i}", dense(weights, f"own{i}", shared)))
        both = (shared + own) * np.sqrt(0.5)
        return both[:, : self.width], both[:, self.width :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gru:
    """A gated recurrent unit (Cho et al. 2014) over sequences, its newest state read at the end.

    A step of which nothing is known has inputs that are all 0, and the state goes on over it.
    The reset gate is applied after the product, as cuDNN does it.
    """

    width: int

    def shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        gates = 3 * self.width
        return {
            "told": (inputs, gates),
            "kept": (self.width, gates),
            OUT: (self.width, CLASSES),
        }

    def scores(self, xp: Any, weights: Weights, inputs: Array) -> Array:  # noqa: ANN401
        known, told = (inputs != 0.0).any(axis=-1), dense(weights, "told", inputs)
        state = xp.zeros_like(told[:, 0, : self.width])

        def step(state: Array, told: Array, known: Array) -> Array:
            new = self._step(xp, told, dense(weights, "kept", state), state)
            return xp.where(known[:, None], new, state)

        state = folded(xp, step, state, told.swapaxes(0, 1), known.swapaxes(0, 1))
        return dense(weights, OUT, state)

    def _step(self, xp: Any, told: Array, kept: Array, state: Array) -> Array:  # noqa: ANN401
        """The state after a step; `told` and `kept` are (n, 3 × width)."""
        width = self.width
        update = logistic(xp, told[:, :width] + kept[:, :width])
        reset = logistic(xp, told[:, width : 2 * width] + kept[:, width : 2 * width])
        new = xp.tanh(told[:, 2 * width :] + reset * kept[:, 2 * width :])
        return update * state + (1.0 - update) * new


def dense(weights: Weights, name: str, inputs: Array) -> Array:
    return inputs @ weights[f"{name}.weight"] + weights[f"{name}.bias"]


def normed(xp: Any, weights: Weights, name: str, inputs: Array) -> Array:  # noqa: ANN401
    """Layer norm of each row: Ba et al. 2016."""
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    spread = xp.sqrt((centred * centred).mean(axis=-1, keepdims=True) + EPSILON)
    return centred / spread * weights[f"{name}.gain"] + weights[f"{name}.bias"]


def gate(xp: Any, inputs: Array) -> Array:  # noqa: ANN401
    """The first half of the columns × the logistic of the second: Dauphin et al. 2017."""
    half = inputs.shape[-1] // 2
    return inputs[:, :half] * (1.0 + xp.tanh(inputs[:, half:] / 2.0)) / 2.0


def logistic(xp: Any, inputs: Array) -> Array:  # noqa: ANN401
    """By tanh, which overflows nowhere."""
    return (1.0 + xp.tanh(inputs / 2.0)) / 2.0


def folded(xp: Any, step: Callable[..., Array], state: Array, *steps: Array) -> Array:  # noqa: ANN401
    """The state after `step(state, …)` of each of the first axis; JAX compiles it once for all."""
    if xp is np:
        for now in zip(*steps, strict=True):
            state = step(state, *now)
        return state
    scan = load_library("jax").lax.scan
    return scan(lambda state, now: (step(state, *now), None), state, steps)[0]


def sparsemax(xp: Any, scores: Array) -> Array:  # noqa: ANN401
    """The nearest point of the simplex to each row: Martins & Astudillo 2016.

    Its threshold by Michelot 1986 from below, without sorting; no more than `ROUNDS` times.
    """
    threshold = scores.max(axis=-1, keepdims=True) - 1.0
    for _ in range(ROUNDS):
        above = scores > threshold
        kept = xp.where(above, scores, 0.0).sum(axis=-1, keepdims=True)
        threshold = (kept - 1.0) / above.sum(axis=-1, keepdims=True)
    return xp.maximum(scores - threshold, 0.0)
