"""What AlphaPulse asks of every model, feature set, signal policy, kind of label and source."""

from __future__ import annotations

import numpy as np
import pytest

from alphapulse_example.leader import LEADER
from alphapulse_example.naive_bayes import KIND
from alphapulse_example.notices import NOTICES
from alphapulse_example.ohlcv2 import OHLCV2
from alphapulse_example.patience import PATIENCE
from alphapulse_example.tempo import TEMPO
from alphapulse_testing.candles import candle_checks
from alphapulse_testing.check import Check
from alphapulse_testing.features import feature_checks
from alphapulse_testing.fitted import fitted_checks
from alphapulse_testing.labels import label_checks
from alphapulse_testing.policies import policy_checks
from alphapulse_testing.sources import source_checks

CHECKS = [
    *fitted_checks(KIND),
    *feature_checks(TEMPO),
    *candle_checks(OHLCV2),
    *policy_checks(PATIENCE),
    *label_checks(LEADER),
    *source_checks(NOTICES),
]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_the_contract_is_kept(check: Check) -> None:
    check()


def test_tempo_by_hand() -> None:
    values = TEMPO.compute(np.array([[0.02, 0.01, -0.03, 0.01], [0.0, 0.01, 0.01, 0.0]]))

    assert values[0] == pytest.approx([np.log(2), 3 / np.sqrt(24)])
    assert np.isnan(values[1]).all()
