"""Binary logistic regression of any matrix, sparse or not: scikit-learn fits, numbers come out."""

from __future__ import annotations

import importlib
from typing import Any

from domain.events import Bools, Floats

ITERATIONS = 2_000
TOLERANCE = 1e-8  # so that the machine does not show in the digits that are kept


def fit_logit(inputs: Any, positive: Bools, *, penalty: float) -> tuple[Floats, float]:  # noqa: ANN401 - scipy is untyped
    """Weights (columns,) and intercept of the log odds of `positive`.

    Args:
        inputs: array or scipy sparse array (rows, columns), all known.
        positive: shape (rows,).
        penalty: of the squared weights; scikit-learn's 1 / C.
    """
    regression = importlib.import_module("sklearn.linear_model").LogisticRegression(
        C=1 / penalty, max_iter=ITERATIONS, tol=TOLERANCE
    )
    regression.fit(inputs, positive)
    return regression.coef_[0], float(regression.intercept_[0])
