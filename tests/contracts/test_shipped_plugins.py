"""The plug-ins that are shipped keep the contract of the kinds that are on."""

from __future__ import annotations

import pytest

from alphapulse_testing.check import Check
from alphapulse_testing.fitted import fitted_checks
from alphapulse_testing.learners import online_checks
from services.models.forest import PLUGIN as FOREST
from services.models.linear import ELASTIC_NET, RIDGE
from services.models.network_kind import GRU, MLP, RESNET, TABNET
from services.models.river_kind import ADAPTIVE_FOREST, HOEFFDING_TREE
from services.models.stacker import PLUGIN as STACKER

STACKED = fitted_checks(STACKER)
CHECKS = [check for kind in (FOREST, RIDGE, ELASTIC_NET) for check in fitted_checks(kind)]
NETWORKS = [check for kind in (MLP, RESNET, TABNET, GRU) for check in fitted_checks(kind)]
TREES = [check for kind in (HOEFFDING_TREE, ADAPTIVE_FOREST) for check in online_checks(kind)]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_the_contract_is_kept(check: Check) -> None:
    check()


@pytest.mark.long
@pytest.mark.parametrize("check", STACKED, ids=str)
def test_the_contract_is_kept_by_the_stacker(check: Check) -> None:
    check()


@pytest.mark.long
@pytest.mark.parametrize("check", NETWORKS, ids=str)
def test_the_contract_is_kept_by_networks(check: Check) -> None:
    check()


@pytest.mark.long
@pytest.mark.parametrize("check", TREES, ids=str)
def test_the_contract_is_kept_label_by_label(check: Check) -> None:
    check()
