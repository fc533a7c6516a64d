"""Train the text scorer on labelled comments, and measure it by cross-validation."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
from scipy import stats

from domain.errors import DataFolderError
from domain.events import Bools, Floats, Ints
from services.models.logit import fit_logit
from services.sentiment.blend import Blend, Weights
from services.sentiment.clusters import Clusters
from services.sentiment.lexicon import Lexicon
from services.sentiment.tfidf import Tfidf, Vocabulary
from services.sentiment.words import normalise

FOLDS: Final = 5
REPEATS: Final = 10
TERM_PENALTY: Final = 0.3
BLEND_PENALTY: Final = 0.001  # two weights and a bias need no restraint
POSITIVE, NEGATIVE = "Positive", "Negative"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comments:
    """Labelled texts, normalised, near duplicates left out."""

    texts: tuple[str, ...]
    positive: Bools
    read: int  # with the near duplicates
    sha256: str  # of the file

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Ints) -> tuple[list[str], Bools]:
        return [self.texts[int(row)] for row in rows], self.positive[rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Areas under the ROC curve in repeated cross-validation."""

    areas: dict[str, Floats]  # by scorer, of each fold: shape (repeats × folds,)
    thirds: list[float]  # of the blend, all folds together, from least to most confident


def read_comments(path: Path) -> Comments:
    """Comments from a Parquet file with the columns `text` and `label`.

    Raises:
        DataFolderError: the file is no such table.
    """
    try:
        table = pq.read_table(path, columns=["text", "label"]).to_pydict()
    except (OSError, ValueError) as error:
        raise DataFolderError(f"{path} holds no labelled comments: {error}") from error
    if not all(isinstance(one, str) for one in (*table["text"], *table["label"])):
        raise DataFolderError(f"{path}: text and label are texts in each row")
    if unknown := set(table["label"]) - {POSITIVE, NEGATIVE}:
        raise DataFolderError(f"{path}: labels are {POSITIVE} or {NEGATIVE}, not {unknown}")
    clusters = Clusters()
    texts = [normalise(text) for text in table["text"]]
    first = [
        row
        for row, text in enumerate(texts)
        if clusters.on_text(str(row), text, known_ms=0) == str(row)
    ]
    return Comments(
        texts=tuple(texts[row] for row in first),
        positive=np.array([table["label"][row] == POSITIVE for row in first]),
        read=len(texts),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def fit_blend(texts: list[str], positive: Bools, lexicon: Lexicon) -> Blend:
    """Terms fitted on all texts; the blend on margins of terms that did not see the text."""
    margins = np.empty(len(texts))
    for fitted, held_out in folds(positive, np.random.default_rng(0)):
        tfidf = fit_terms([texts[row] for row in fitted], positive[fitted])
        margins[held_out] = [tfidf.margin(texts[row]) for row in held_out]
    compounds = [lexicon.score(text).polarity for text in texts]
    inputs = np.nan_to_num(np.column_stack([margins, compounds]))  # as Blend takes the unknown
    (terms, compound), bias = fit_logit(inputs, positive, penalty=BLEND_PENALTY)
    weights = Weights(bias=bias, terms=float(terms), lexicon=float(compound))
    return Blend(lexicon, fit_terms(texts, positive), weights)


def fit_terms(texts: list[str], positive: Bools) -> Tfidf:
    vocabulary = Vocabulary.of(texts)
    weights, intercept = fit_logit(vocabulary.matrix(texts), positive, penalty=TERM_PENALTY)
    return Tfidf(vocabulary, dict(zip(vocabulary.idf, weights.tolist(), strict=True)), intercept)


def folds(positive: Bools, rng: np.random.Generator) -> Iterator[tuple[Ints, Ints]]:
    """Rows to fit and rows held out, `FOLDS` times, with equal shares of both labels."""
    fold = np.empty(len(positive), dtype=np.int64)
    for label in (True, False):
        rows = rng.permutation(np.flatnonzero(positive == label))
        fold[rows] = np.arange(len(rows)) % FOLDS
    for number in range(FOLDS):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def area_under_curve(scores: Floats, positive: Bools) -> float:
    """The share of (positive, negative) pairs in which the positive has the higher score.

    Equal scores count half; an unknown score counts as 0. NaN where there is no pair.
    """
    ranks = stats.rankdata(np.nan_to_num(scores))
    n, m = int(positive.sum()), int((~positive).sum())
    if not n * m:
        return np.nan
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def cross_validate(comments: Comments, repeats: int = REPEATS) -> Measured:
    """Everything that is fitted (idf, terms, blend) is fitted anew within each fold."""
    lexicon = Lexicon()
    areas: dict[str, list[float]] = {}
    said: list[Floats] = []
    for seed in range(repeats):
        for fitted, held_out in folds(comments.positive, np.random.default_rng(seed + 1)):
            blend = fit_blend(*comments.take(fitted), lexicon)
            texts, positive = comments.take(held_out)
            for scorer in (lexicon, blend.tfidf, blend):
                polarity = np.array([scorer.score(text).polarity for text in texts])
                areas.setdefault(scorer.name, []).append(area_under_curve(polarity, positive))
            said.append(np.column_stack([[blend.score(text) for text in texts], positive]))
    polarities, confidence, answers = np.concatenate(said).T
    thirds = np.array_split(np.argsort(confidence, kind="stable"), 3)
    return Measured(
        areas={name: np.array(values) for name, values in areas.items()},
        thirds=[area_under_curve(polarities[rows], answers[rows] > 0) for rows in thirds],
    )


def mean_interval(areas: Floats) -> tuple[float, float, float]:
    """Mean and 95 % interval of the areas of repeated folds, which share their rows.

    The variance is multiplied by 1/k + 1/(folds − 1) instead of 1/k (Nadeau & Bengio,
    Inference for the generalization error, Machine Learning 52, 2003).
    """
    spread = areas.std(ddof=1) * np.sqrt(1 / len(areas) + 1 / (FOLDS - 1))
    reach = stats.t.ppf(0.975, len(areas) - 1) * spread
    mean = float(areas.mean())
    return mean, mean - float(reach), mean + float(reach)


def train_text_scorer(path: Path, out: Path) -> None:
    """Fit the blend on all comments of a Parquet file and write its artifact."""
    comments = read_comments(path)
    blend = fit_blend(list(comments.texts), comments.positive, Lexicon())
    about = {
        "trained_on": {"file_sha256": comments.sha256, "comments": len(comments)},
        "penalties": {"terms": TERM_PENALTY, "blend": BLEND_PENALTY},
    }
    out.write_bytes(blend.write(about))
    sys.stdout.write(f"{out}: {blend.name}, {len(blend.tfidf.weights)} terms\n")


def evaluate_text_scorer(path: Path, repeats: int = REPEATS) -> None:
    """Print what cross-validation says of the scorers."""
    comments = read_comments(path)
    measured = cross_validate(comments, repeats)
    lines = [
        f"{len(comments)} comments ({int(comments.positive.sum())} positive), "
        f"{comments.read - len(comments)} near duplicates left out",
        f"area under the ROC curve, {repeats} × {FOLDS} folds: mean [95 % interval]",
    ]
    for name, areas in measured.areas.items():
        mean, low, high = mean_interval(areas)
        lines.append(f"  {name:10} {mean:.3f} [{low:.3f}, {high:.3f}]")
    thirds = ", ".join(f"{area:.3f}" for area in measured.thirds)
    lines.append(f"the last one by thirds of its confidence, least first: {thirds}")
    sys.stdout.write("\n".join(lines) + "\n")
