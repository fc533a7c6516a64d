"""Training and measuring the text scorer: nothing of a held-out text enters the fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from backend.text_scorer import (
    FOLDS,
    Comments,
    area_under_curve,
    cross_validate,
    evaluate_text_scorer,
    folds,
    mean_interval,
    read_comments,
    train_text_scorer,
)
from domain.errors import DataFolderError
from services.sentiment.blend import read_blend
from services.sentiment.lexicon import Lexicon

WORDS = [f"{first}{second}" for first in "bdfgklm" for second in ("ako", "eru", "ilo", "onu")]


def chatter(count: int, seed: int) -> tuple[str, ...]:
    rng = np.random.default_rng(seed)
    return tuple(" ".join(rng.choice(WORDS, size=8)) for _ in range(count))


def stored(folder: Path, texts: list[str], labels: list[str]) -> Path:
    path = folder / "comments.parquet"
    pq.write_table(pa.table({"text": texts, "label": labels}), path)
    return path


def test_the_area_is_that_of_scikit_learn_and_the_unknown_counts_as_zero() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(200) < 0.4
    scores = np.round(rng.normal(size=200) + positive, 1)  # with ties

    assert area_under_curve(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    scores[:20] = np.nan
    assert area_under_curve(scores, positive) == pytest.approx(
        roc_auc_score(positive, np.nan_to_num(scores))
    )


def test_folds_hold_each_row_out_once_and_both_labels_alike() -> None:
    positive = np.arange(53) % 3 == 0

    parts = list(folds(positive, np.random.default_rng(3)))

    assert sorted(np.concatenate([out for _, out in parts])) == list(range(53))
    for fitted, out in parts:
        assert set(fitted).isdisjoint(out)
        assert abs(positive[out].sum() - positive.sum() / FOLDS) < 1


def test_labels_at_random_are_ranked_at_random() -> None:
    positive = np.random.default_rng(8).random(150) < 0.5
    comments = Comments(texts=chatter(150, 8), positive=positive, read=150, sha256="")

    areas = cross_validate(comments, repeats=2).areas["blend@1"]

    assert abs(areas.mean() - 0.5) < 0.12


def test_a_word_that_tells_is_found() -> None:
    texts = chatter(100, 5)
    positive = np.arange(100) % 2 == 0
    texts = tuple(f"{t} {'zora' if p else 'zuma'}" for t, p in zip(texts, positive, strict=True))

    measured = cross_validate(
        Comments(texts=texts, positive=positive, read=100, sha256=""), repeats=1
    )

    assert measured.areas["blend@1"].mean() > 0.95
    assert measured.areas["lexicon@1"].mean() == 0.5


def test_the_interval_allows_for_folds_that_share_their_rows() -> None:
    areas = np.array([0.8, 0.9] * 25)

    mean, low, high = mean_interval(areas)

    assert mean == pytest.approx(0.85)
    # t(49) = 2.0096, s = 0.050508, √(1/50 + 1/4) = 0.519615
    assert (low, high) == pytest.approx((0.85 - 0.05274, 0.85 + 0.05274), abs=1e-4)


def test_near_duplicates_are_left_out_so_that_no_fold_holds_anothers_text(tmp_path: Path) -> None:
    text = "I am really super bullish on this one, my best hold"
    path = stored(
        tmp_path, [text, f"{text}!", "stay away from it"], ["Positive"] * 2 + ["Negative"]
    )

    comments = read_comments(path)

    assert comments.texts == (text, "stay away from it")
    assert list(comments.positive) == [True, False]
    assert comments.read == 3


def test_a_file_without_labelled_comments_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match="no labelled comments"):
        read_comments(tmp_path / "none.parquet")
    pq.write_table(pa.table({"words": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataFolderError, match="no labelled comments"):
        read_comments(tmp_path / "other.parquet")
    with pytest.raises(DataFolderError, match="Neutral"):
        read_comments(stored(tmp_path, ["a"], ["Neutral"]))


def test_what_is_trained_can_be_read_and_what_is_measured_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"{text} {'good' if n % 2 else 'bad'}" for n, text in enumerate(chatter(40, 2))]
    path = stored(tmp_path, texts, ["Negative", "Positive"] * 20)

    train_text_scorer(path, tmp_path / "blend.json")
    evaluate_text_scorer(path, repeats=2)

    blend = read_blend((tmp_path / "blend.json").read_bytes(), Lexicon())
    assert blend.score("good").polarity > 0 > blend.score("bad").polarity
    printed = capsys.readouterr().out
    assert "2 × 5 folds" in printed
    assert "blend@1    1.000 [1.000, 1.000]" in printed
