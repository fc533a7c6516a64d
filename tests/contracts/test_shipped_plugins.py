"""The plug-ins that are shipped keep the contract of the kinds that are on."""

from __future__ import annotations

import pytest

from alphapulse_testing.check import Check
from alphapulse_testing.fitted import fitted_checks
from services.models.forest import PLUGIN as FOREST
from services.models.linear import ELASTIC_NET, RIDGE

CHECKS = [check for kind in (FOREST, RIDGE, ELASTIC_NET) for check in fitted_checks(kind)]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_the_contract_is_kept(check: Check) -> None:
    check()
