from __future__ import annotations

import pytest

from athanor.agents.reasoners import make_reasoner
from athanor.agents.reasoners.endpoint import ModelNotConfigured, ModelSettings
from athanor.agents.reasoners.language_model import LanguageModelReasoner
from athanor.agents.reasoners.statistical import StatisticalReasoner

GOOD = {"ATHANOR_MODEL": "m", "ATHANOR_MODEL_BASE_URL": "http://127.0.0.1:8000/v1"}


def test_nothing_set_is_no_endpoint() -> None:
    assert ModelSettings.from_environment({}) is None
    assert ModelSettings.from_environment({"OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": "http://127.0.0.1:1"}) is None


@pytest.mark.parametrize("missing", ["ATHANOR_MODEL", "ATHANOR_MODEL_BASE_URL"])
def test_half_an_endpoint_is_refused_by_name(missing: str) -> None:
    with pytest.raises(ModelNotConfigured, match=f"{missing} is not: set both"):
        ModelSettings.from_environment({k: v for k, v in GOOD.items() if k != missing})


def test_a_required_endpoint_names_both_variables() -> None:
    with pytest.raises(ModelNotConfigured, match="ATHANOR_MODEL and ATHANOR_MODEL_BASE_URL"):
        ModelSettings.from_environment({}, required=True)


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://user:pw@127.0.0.1/v1", "http://127.0.0.1:99999/v1"],
)
def test_a_strange_address_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ModelNotConfigured, match="ATHANOR_MODEL_BASE_URL") as refusal:
        ModelSettings.from_environment({**GOOD, "ATHANOR_MODEL_BASE_URL": url})
    assert "pw" not in str(refusal.value)


def test_prices_make_costs() -> None:
    settings = ModelSettings.from_environment(
        {**GOOD, "ATHANOR_MODEL_PRICE_IN": "2", "ATHANOR_MODEL_PRICE_OUT": "8", "ATHANOR_MODEL_API_KEY": "sk-secret"}
    )
    assert settings is not None
    assert settings.cost(1_000_000, 500_000) == pytest.approx(6.0)
    assert "sk-secret" not in repr(settings) and "sk-secret" not in settings.model_dump_json()
    free = ModelSettings.from_environment(GOOD)
    assert free is not None and free.cost(10, 10) is None


@pytest.mark.parametrize("price", ["cheap", "-1", "nan", "inf"])
def test_a_price_that_is_none_is_refused(price: str) -> None:
    with pytest.raises(ModelNotConfigured, match="ATHANOR_MODEL_PRICE_IN"):
        ModelSettings.from_environment({**GOOD, "ATHANOR_MODEL_PRICE_IN": price})


def test_the_choice_of_reasoner(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GOOD:
        monkeypatch.delenv(name, raising=False)
    assert make_reasoner("none") is None
    assert isinstance(make_reasoner("auto"), StatisticalReasoner)
    with pytest.raises(ModelNotConfigured):
        make_reasoner("language-model")
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert isinstance(make_reasoner("auto"), LanguageModelReasoner)
    assert isinstance(make_reasoner("statistical"), StatisticalReasoner)
