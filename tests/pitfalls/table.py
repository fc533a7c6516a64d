"""The pitfalls: each a change of one line that brings it in, and the tests that notice."""

from __future__ import annotations

from typing import Final, NamedTuple


class Pitfall(NamedTuple):
    """What goes wrong, where it is planted, and which tests must fail then."""

    name: str
    file: str  # from the root of the repository
    sound: str  # occurs once in it
    planted: str  # in the place of `sound`
    tests: str  # arguments of pytest


_FITTING: Final = "services/models/fitting.py"
_SPLITS: Final = "services/models/walk_forward.py"
_SPLIT_TESTS: Final = "tests/unit/models/test_walk_forward.py"
_FIT_TESTS: Final = "tests/unit/models/test_fitting.py"

PITFALLS: Final = (
    Pitfall(
        "shuffled split",
        _SPLITS,
        "tested = self.as_of_ms >= start_ms",
        "tested = np.random.default_rng(0).random(len(self.as_of_ms)) < HOLDOUT",
        _SPLIT_TESTS,
    ),
    Pitfall(
        "no purge, no embargo",
        _SPLITS,
        "trained = self.known_ms + self.embargo_ms <= start_ms",
        "trained = self.as_of_ms < start_ms",
        _SPLIT_TESTS,
    ),
    Pitfall(
        "what judges is fitted too",
        _FITTING,
        "artifacts = [train(task, catalogue, examples.take(split.train)) for split in splits]",
        "artifacts = [train(task, catalogue, examples) for split in splits]",
        f"{_FIT_TESTS} -k has_not_seen",
    ),
    Pitfall(
        "overlapping labels counted whole",
        _FITTING,
        "n_effective=float(trained.uniqueness.sum())",
        "n_effective=float(len(trained))",
        f"{_FIT_TESTS} -k a_refresh_judges",
    ),
    Pitfall(
        "a feature of the next candle",
        "services/features/windows.py",
        "_take(candles[t, i], state, row)",
        "_take(candles[min(t + 1, candles.shape[0] - 1), i], state, row)",
        "tests/properties/test_features_say_the_same_however_they_are_asked.py",
    ),
    Pitfall(
        "a candle set that sees the next candle",
        "services/features/extended.py",
        "self._push(slots[present], as_of, candles[tick, present])",
        "self._push(slots[present], as_of, candles[min(tick + 1, len(candles) - 1), present])",
        "tests/contracts/test_suites_can_fail.py -k sound_candle_set",
    ),
    Pitfall(
        "a fit on new columns as a refresh",
        "backend/learning/plan.py",
        'f"{of.models(kind)}.{target}": (kind, of)',
        'f"{kind}.{target}": (kind, of)',
        "tests/integration/test_two_feature_sets.py -k each_kind",
    ),
    Pitfall(
        "the next candle among those before a row",
        "domain/past.py",
        "back = np.arange(candles, 0, -1, dtype=np.int64)",
        "back = np.arange(candles - 2, -2, -1, dtype=np.int64)",
        "tests/unit/domain/test_past.py",
    ),
    Pitfall(
        "sequences that reach over the embargo",
        _SPLITS,
        "return cls(examples.as_of_ms, known_ms, embargo_ms + reach_ms)",
        "return cls(examples.as_of_ms, known_ms, embargo_ms)",
        f"{_SPLIT_TESTS} -k reach_back",
    ),
    Pitfall(
        "a default in the place of what is not known",
        "services/features/windows.py",
        "return value if count >= needed else np.nan",
        "return value if count >= needed else 0.0",
        "tests/unit/features/test_feature_set.py",
    ),
    Pitfall(
        "a label known at its own close",
        "services/labels/labeller.py",
        "known_ms = np.maximum(ends[label, column], rows[Pending.FILLED_MS]).astype(np.int64)",
        "known_ms = rows[Pending.AS_OF_MS].astype(np.int64)",
        "tests/properties/test_labels_look_only_ahead_of_their_close.py",
    ),
    Pitfall(
        "limits of a class label that were not known at its close",
        "services/classes/grid.py",
        "known = (known_ms > 0) & (known_ms <= as_of_ms)",
        "known = known_ms > 0",
        "tests/properties/test_class_labels_know_nothing_of_the_future.py",
    ),
    Pitfall(
        "a class prior of labels to come",
        "services/models/class_fits.py",
        'known = np.searchsorted(task.known_ms[order], task.examples.as_of_ms[rows], side="right")',
        "known = np.full(len(rows), len(order))",
        "tests/unit/models/test_class_fits.py -k prior",
    ),
    Pitfall(
        "a class of a label that is void",
        "services/classes/regime.py",
        "np.where(void, VOID, classes)",
        "classes",
        "tests/contracts/test_label_kind.py",
    ),
    Pitfall(
        "entry at a price that was past",
        "services/labels/labeller.py",
        "self._enter(cells, ohlc[0], now)",
        "self._enter(cells, past[Past.CLOSE], now)",
        "tests/unit/labels/test_labeller.py",
    ),
    Pitfall(
        "a text counts from when it was published",
        "services/sentiment/aggregate.py",
        "items.take((items.known_ms <= as_of_ms) & young)",
        "items.take((items.published_ms <= as_of_ms) & young)",
        "tests/properties/test_sentiment_is_of_what_was_known.py",
    ),
    Pitfall(
        "a metric that is too old is told",
        "services/sentiment/features.py",
        "return np.where(age_ms <= MAX_AGE[metric] // MILLISECOND, values, np.nan), age_ms",
        "return values, age_ms",
        "tests/unit/sentiment tests/properties/test_sentiment_is_of_what_was_known.py",
    ),
    Pitfall(
        "labels of the future are fitted",
        "backend/store/feature_queries.py",
        "AND label.known_at <= $5\n        AND label.label_set",
        "AND label.known_at <= $5 + interval '9 hours'\n        AND label.label_set",
        "tests/integration/test_store_history.py -k examples",
    ),
    Pitfall(
        "only those that are still listed are fitted",
        "backend/store/feature_queries.py",
        "AND exchange = $1 AND NOT label.void\n",
        "AND exchange = $1 AND NOT label.void AND watched_until IS NULL\n",
        "tests/integration/test_store_history.py -k left",
    ),
    Pitfall(
        "each attempt at the whole error",
        "services/scores/promotion.py",
        "return ALPHA * 6.0 / (math.pi**2 * attempt**2)",
        "return ALPHA",
        "tests/unit/scores/test_promotion.py",
    ),
    Pitfall(
        "blocks taken for independent",
        "services/scores/promotion.py",
        "test = block_test(means[:, 0], LEAST_CORRELATION)",
        "test = block_test(difference, 0.0)",
        "tests/unit/scores/test_promotion.py",
    ),
    Pitfall(
        "a forecaster without skill is served",
        "services/scores/gate.py",
        "return low <= 0.0 if self._target is Target.DIRECTION else high < 0.0",
        "return high < 0.0",
        "tests/unit/scores/test_gate.py",
    ),
    Pitfall(
        "NaN is learnt online",
        "services/models/online.py",
        "known = np.isfinite(inputs).all(axis=1)\n        self.skipped",
        "known = np.ones(len(inputs), dtype=bool)\n        self.skipped",
        "tests/unit/models/test_online.py",
    ),
    Pitfall(
        "a seed that is not used",
        "services/models/engines.py",
        '"random_seed": task.seed,',
        '"random_seed": __import__("time").time_ns() % 2**31,',
        "tests/contracts/test_model.py -k 'catboost and fits'",
    ),
    Pitfall(
        "profit without costs",
        "services/ledger/account.py",
        "fee = abs(quantity) * fill * self.terms.fee_bps * BPS",
        "fee = 0.0 * quantity",
        "tests/unit/ledger/test_ledger.py",
    ),
    Pitfall(
        "the take before the stop in one candle",
        "services/signals/book.py",
        "if sign * (worst - signal.stop) <= 0:",
        "if sign * (worst - signal.stop) <= 0 and sign * (best - signal.take) < 0:",
        "tests/unit/signals/test_policy_and_book.py",
    ),
    Pitfall(
        "nobody says that nothing comes true any more",
        "services/predictions/predictor.py",
        "return bool(self._judged_ms) and as_of_ms - self._judged_ms > limit_ms",
        "return as_of_ms - self._judged_ms > 10**6 * limit_ms",
        "tests/unit/predictions/test_predictor.py -k stale",
    ),
    Pitfall(
        "an altered artifact is opened",
        "services/models/artifacts.py",
        "if hashlib.sha256(artifact).hexdigest() != sha256:",
        "if not artifact:",
        "tests/unit/models/test_artifacts.py tests/integration/test_altered_artifacts.py",
    ),
    Pitfall(
        "a decision about another champion moves the seat",
        "backend/store/registry.py",
        "if champion != decision.champion_version:",
        "if champion != champion:",
        "tests/integration/test_store_registry.py",
    ),
    Pitfall(
        "two systems write one state folder",
        "backend/store/state.py",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        "tests/integration/test_state_folder.py",
    ),
    Pitfall(
        "trials not counted in Holm",
        "services/scores/promotion.py",
        "return min(self.trials * self.test.p_above(), 1.0)",
        "return self.test.p_above()",
        "tests/unit/scores/test_promotion.py",
    ),
    Pitfall(
        "a search that reads the holdout",
        "services/models/searching.py",
        "for split in walk_forward(times):",
        "for split in walk_forward(times, holdout=0.0):",
        "tests/unit/models/test_searching.py",
    ),
    Pitfall(
        "a deflated Sharpe ratio that ignores trials",
        "services/scores/sharpe.py",
        "above = ratio - best_of(trials) / math.sqrt(count - 1)",
        "above = ratio - best_of(1) / math.sqrt(count - 1)",
        "tests/unit/scores/test_sharpe.py",
    ),
    Pitfall(
        "doctor and verify end well whatever they find",
        "backend/upkeep.py",
        'sys.stdout.writelines(f"{fault}\\n" for fault in faults)\n            return 1',
        'sys.stdout.writelines(f"{fault}\\n" for fault in faults)\n            return 0',
        "tests/integration/test_store_stream_log.py -k verify",
    ),
    Pitfall(
        "a message noted as sent before it is taken",
        "backend/notify/sender.py",
        'await self.channel.send(notification(row["body"].encode(), self._late(row["at"])))',
        'await self._taken(row); await self.channel.send(notification(row["body"].encode()))',
        "tests/integration/test_notifications_after_a_kill.py -m long",
    ),
    Pitfall(
        "a message that comes again under another id",
        "services/notifications/wording.py",
        ".join((channel, notice.event, *notice.key))",
        ".join((channel, notice.event, __import__('uuid').uuid4().hex))",
        "tests/integration/test_notifier.py -k under_its_ids",
    ),
    Pitfall(
        "a prediction beside a candle that opened before it was made",
        "client/alphapulse_client/join.py",
        'direction="forward"',
        'direction="nearest"',
        "tests/properties/test_predictions_join_only_later_candles.py -k 'too and pandas'",
    ),
    Pitfall(
        "a prediction that stands until the next one",
        "client/alphapulse_client/join.py",
        'strategy="forward"',
        'strategy="backward"',
        "tests/properties/test_predictions_join_only_later_candles.py -k 'too and polars'",
    ),
)
