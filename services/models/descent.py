"""Fitting a network by JAX: gradient descent that stops where newer rows say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from domain.events import Ints
from services.models.libraries import load_library
from services.models.networks import Network, Weights, drawn
from services.models.sample import CLASS_VALUES, Sample
from services.models.sequences import SequenceSample

COMPILED: Final = 16  # networks of which a process remembers how they are fitted
KEYS: Final = 2**31  # what JAX can begin its draws from; seeds may be larger


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """How a network is fitted, by AdamW: Loshchilov & Hutter 2019."""

    learning_rate: float
    weight_decay: float
    batch: int  # rows of a step
    epochs: int  # at most
    patience: int  # epochs in a row that are no better on the newer rows
    dropout: float  # share of the inputs that a step does not see: Srivastava et al. 2014


Fit = Callable[..., Any]
Learnt = Sample | SequenceSample


def descend(
    network: Network, older: Learnt, newer: Learnt, how: Descent, *, seed: int, device: str
) -> Weights:
    """The weights (float32) of that epoch which does best on `newer`.

    Before the first, each row has the class frequencies of `older`; they remain where no epoch is
    better. The loss is the weighted log loss.

    Args:
        network: what is fitted.
        older: that it learns from, nothing unknown in it, with each class.
        newer: that it stops by.
        how: the steps.
        seed: of the first weights, and of the order of the rows.
        device: cpu or cuda, and it works.
    """
    jax = load_library("jax")
    rng = np.random.default_rng(seed)
    frequencies = np.array([older.weights[older.answers == one].sum() for one in CLASS_VALUES])
    start = np.log(frequencies / frequencies.sum())
    inputs, *answers = _arrays(older)
    first = drawn(network, inputs[0].shape[1], start, rng)
    with jax.default_device(jax.devices(device)[0]):
        best = weights = {name: array.astype(np.float32) for name, array in first.items()}
        begin, epoch, loss = _compiled(network, how)
        judges, *truth = _arrays(newer)
        judges = _shown(judges, np.arange(len(truth[0])))
        state, least, waited = begin(weights), float(loss(weights, judges, *truth)), 0
        for _ in range(how.epochs):
            order = _order(len(older.answers), how.batch, rng)
            key = jax.random.key(int(rng.integers(KEYS)))
            weights, state = epoch(weights, state, key, order, inputs, *answers)
            now = float(loss(weights, judges, *truth))
            waited = 0 if now < least else waited + 1
            if now < least:
                best, least = weights, now
            elif waited == how.patience:
                break
        return {name: np.asarray(array) for name, array in best.items()}


def _arrays(sample: Learnt) -> tuple[tuple[Any, ...], Any, Any]:
    """Inputs, classes 0–2 and weights whose mean is 1, as JAX reads them.

    Inputs are rows (m, k), or rows (r, k) with the places of m sequences in them.
    """
    weights = sample.weights / sample.weights.mean()
    classes = sample.answers.astype(np.int32) + 1
    if isinstance(sample, Sample):
        inputs: tuple[Any, ...] = (sample.inputs.astype(np.float32),)
    else:
        places = sample.inputs.places % len(sample.inputs.rows)  # −1 is the last one
        inputs = (sample.inputs.rows.astype(np.float32), places.astype(np.int32))
    return inputs, classes, weights.astype(np.float32)


def _shown(inputs: tuple[Any, ...], chosen: Any) -> Any:  # noqa: ANN401 - of numpy or JAX
    """Of those that are chosen: rows (n, k), or sequences (n, steps, k)."""
    rows, *places = inputs
    return rows[places[0][chosen]] if places else rows[chosen]


def _order(rows: int, batch: int, rng: np.random.Generator) -> Ints:
    """Rows drawn without replacement, (steps, batch); a rest that fills no batch is left out."""
    size = min(batch, rows)
    steps = rows // size
    return rng.permutation(rows)[: steps * size].reshape(steps, size).astype(np.int32)


@lru_cache(maxsize=COMPILED)
def _compiled(network: Network, how: Descent) -> tuple[Fit, Fit, Fit]:
    """How a state begins, an epoch, and the loss."""
    jax, optax = load_library("jax"), load_library("optax")
    optimizer = optax.adamw(how.learning_rate, weight_decay=how.weight_decay)

    def loss(weights: Any, inputs: Any, classes: Any, importance: Any) -> Any:  # noqa: ANN401
        scores = network.scores(jax.numpy, weights, inputs)
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, classes)
        return (importance * losses).sum() / importance.sum()

    def epoch(weights: Any, state: Any, key: Any, order: Any, inputs: Any, *others: Any) -> Any:  # noqa: ANN401
        def step(carried: Any, now: Any) -> Any:  # noqa: ANN401
            (weights, state), (chosen, key) = carried, now
            told = _shown(inputs, chosen)
            columns = (len(chosen), *(1,) * (told.ndim - 2), told.shape[-1])  # all steps' alike
            seen = jax.random.bernoulli(key, 1.0 - how.dropout, columns)
            shown = told * seen / (1.0 - how.dropout)
            gradient = jax.grad(loss)(weights, shown, *(array[chosen] for array in others))
            update, state = optimizer.update(gradient, state, weights)
            return (optax.apply_updates(weights, update), state), None

        keys = jax.random.split(key, len(order))
        return jax.lax.scan(step, (weights, state), (order, keys))[0]

    return optimizer.init, jax.jit(epoch), jax.jit(loss)
