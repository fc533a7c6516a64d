"""Examples made ready for a fit: which rows, which answers, which weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.events import Bools, Examples, Floats, Ints, Target

CLASS_VALUES = np.array([-1.0, 0.0, 1.0])


def knowledge_ms(examples: Examples, target: Target) -> Ints:
    """When each example was known to learners of `target`."""
    return examples.direction_known_ms if target is Target.DIRECTION else examples.known_ms


def sample_weights(examples: Examples) -> Floats:
    """Weight × uniqueness: overlapping labels share what they say."""
    return examples.weight * examples.uniqueness


def softmax(scores: Floats) -> Floats:
    """Rows of probabilities from rows of raw scores."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def medians(inputs: Floats) -> Floats:
    """Of each column over what is known in it; 0 where nothing is."""
    known = np.isfinite(inputs).any(axis=0)
    result = np.zeros(inputs.shape[1])
    result[known] = np.nanmedian(inputs[:, known], axis=0)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Inputs with NaN for what is unknown, answers and weights."""

    inputs: Floats  # (m, k)
    answers: Floats  # (m,)
    weights: Floats  # (m,)

    def usable(self) -> Sample:
        """Without rows that have no answer, no weight or no input at all.

        Raises:
            ValueError: none remains.
        """
        rows = self.usable_rows()
        return Sample(self.inputs[rows], self.answers[rows], self.weights[rows])

    def usable_rows(self) -> Bools:
        """Which rows those are, shape (m,); raises as `usable`."""
        rows = np.isfinite(self.answers) & (self.weights > 0)
        rows &= np.isfinite(self.inputs).any(axis=1)
        if not rows.any():
            raise ValueError("no row has an answer, a weight and a known feature")
        return rows

    def with_every_class(self, neutral: Floats, classes: Floats = CLASS_VALUES) -> Sample:
        """One more row of weight 1 for each of `classes` at `neutral`: Laplace +1.

        So every class has a probability above 0, whichever were seen.
        """
        rows = np.tile(neutral, (len(classes), 1))
        return Sample(
            np.concatenate((self.inputs, rows)),
            np.concatenate((self.answers, classes)),
            np.concatenate((self.weights, np.ones(len(classes)))),
        )
