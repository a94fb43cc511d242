"""One decision with all it needs, and two people at once: one outcome each, explained, and in the journal."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from athanor.agents.campaign import open_campaign, propose_experiment, run_campaign, shut_down_laboratory
from athanor.agents.spec import parse
from athanor.instruments.latch import Latch
from athanor.instruments.takeover import TakeOver
from athanor.instruments.write_switch import WriteSwitch
from athanor.memory.decisions import body_of
from athanor.memory.records import Experiment
from athanor.memory.remarks import REMARK
from athanor.memory.verify import verify
from tests.console.api.site_rig import POINT, Site, code
from tests.console.api.test_starting import ASKING

TWO = ASKING.replace("approve_each}", "approve_each, proposer_may_not_approve: true}")
ENVELOPE = {
    "residence_time": {"low": 0.5, "high": 1.0},
    "equivalents": {"low": 2.0, "high": 2.0},
    "concentration": {"low": 0.1, "high": 0.5},
    "temperature": {"low": 40.0, "high": 60.0},
}


def opened(site: Site, text: str) -> str:
    return open_campaign(parse(text), site.ledger)


def at(experiment: Experiment, verb: str = "approve") -> str:
    return f"/api/v1/experiments/{experiment.id}/{verb}"


def seen(experiment: Experiment, **more: Any) -> dict[str, Any]:
    return {"revision": experiment.revision[:8], **more}


def warmer(experiment: Experiment) -> dict[str, Any]:
    return seen(experiment, values={"temperature": 70.0}, reason="x")


# -- what one sees ----------------------------------------------------------------------------------------------------


def test_a_decision_comes_with_all_it_needs(site: Site) -> None:
    client = site.signed_in("scientist")
    found = client.get(at(site.experiment, "decision")).json()
    assert found["experiment"]["id"] == site.experiment.id and found["campaign"]["id"] == site.campaign
    settings = {one["name"]: one for one in found["settings"]}
    temperature = settings["temperature"]
    assert (temperature["value"], temperature["unit"]) == (60.0, "degC")
    assert (temperature["low"], temperature["high"]) == (30, 120)
    assert temperature["limit_high"] is not None and temperature["fault"] is None and temperature["previous"] is None
    assert found["within_limits"] and not found["could_run"] and found["authors"] == ["test"]
    conditions = {one["what"]: one for one in found["conditions"]}
    assert not conditions["campaign"]["holds"] and conditions["campaign"]["remedy"]
    assert all(conditions[name]["holds"] for name in ("Stop All", "writes", "take-over", "budget", "approver"))
    assert found["uses"] == [{"what": "experiments", "used": 0, "takes": 1, "limit": 40, "unit": None}]
    assert found["expires_s"] == 86400 and found["deferral"] is None and found["remarks"] == []


def test_what_would_keep_it_from_running_is_named(site: Site) -> None:
    client = site.signed_in("scientist")
    WriteSwitch(site.place).off("valve leaks", "ada")
    Latch(site.place).engage("smoke", "ada")
    (site.place.directory / "takeover.json").write_text("no order at all")
    assert TakeOver(site.place).read().refusal is not None
    conditions = {one["what"]: one for one in client.get(at(site.experiment, "decision")).json()["conditions"]}
    for name, said in (("Stop All", "smoke"), ("writes", "valve leaks"), ("take-over", "")):
        assert not conditions[name]["holds"] and said in conditions[name]["text"] and conditions[name]["remedy"], name


def test_predictions_bounds_and_the_last_run_are_shown(site: Site) -> None:
    text = ASKING + "constraints: [{outcome: e_factor, upper: 10.0, probability: 0.9}]\n"
    name = opened(site, text)
    candidate = {
        "predicted": {"sty": {"mean": 5.0, "sd": 1.0}, "e_factor": {"mean": 10.0, "sd": 2.0}},
        "why": {"method": "expected improvement", "detail": "because", "fallback": None, "advice": ["H1"]},
    }
    from athanor.agents.context import propose

    made = site.ledger.add_experiment(
        propose(
            site.ledger,
            site.ledger.campaign(name),
            values={**POINT, "temperature": 55.0},
            purpose="explore",
            source="planner",
            candidate=candidate,
            replicates=1,
        )
    )
    found = site.signed_in("observer").get(at(made, "decision")).json()
    expected = {one["name"]: one for one in found["expected"]}
    assert expected["sty"]["mean"] == 5.0 and expected["sty"]["probability"] is None
    assert expected["e_factor"]["probability"] == pytest.approx(0.5) and expected["e_factor"]["required"] == 0.9
    assert (found["why"], found["method"], found["advice"]) == ("because", "expected improvement", ["H1"])


# -- deferring, responding, trying ------------------------------------------------------------------------------------


def test_what_is_put_off_does_not_wait_until_then(site: Site) -> None:
    client = site.signed_in("scientist")
    campaign = f"/api/v1/campaigns/{site.campaign}"
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    answer = client.post(at(site.experiment, "defer"), json=seen(site.experiment, until=later, reason="lunch"))
    assert answer.status_code == 201, answer.text
    found = client.get(campaign).json()
    assert (found["waiting"], found["deferred"]) == ([], [site.experiment.id])
    deferral = client.get(at(site.experiment, "decision")).json()["deferral"]
    assert (deferral["by"], deferral["reason"]) == ("scientist", "lunch")
    for wrong in ("2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"):
        refused = client.post(at(site.experiment, "defer"), json=seen(site.experiment, until=wrong, reason="x"))
        assert code(refused) == "refused", refused.text
    zoneless = seen(site.experiment, until="2030-01-01T00:00:00", reason="x")
    naive = client.post(at(site.experiment, "defer"), json=zoneless)
    assert code(naive) == "request.invalid"
    assert client.delete(at(site.experiment, "defer")).status_code == 204
    assert client.get(campaign).json()["waiting"] == [site.experiment.id]
    assert code(client.delete(at(site.experiment, "defer"))) == "refused"


def test_a_deferral_is_over_at_its_time_and_can_be_decided_before(site: Site) -> None:
    from athanor.memory.remarks import deferrals

    client = site.signed_in("scientist")
    later = datetime.now(UTC) + timedelta(hours=1)
    client.post(at(site.experiment, "defer"), json=seen(site.experiment, until=later.isoformat(), reason="x"))
    events = site.ledger.events(site.campaign)
    assert site.experiment.id in deferrals(events, later - timedelta(seconds=1))
    assert site.experiment.id not in deferrals(events, later)
    assert client.post(at(site.experiment), json=seen(site.experiment)).status_code == 201
    late = client.post(at(site.experiment, "defer"), json=seen(site.experiment, until=later.isoformat(), reason="x"))
    assert code(late) == "refused" and "approved" in late.json()["detail"]
    assert client.get(f"/api/v1/campaigns/{site.campaign}").json()["deferred"] == []


def test_a_remark_is_kept_with_the_experiment(site: Site) -> None:
    client = site.signed_in("scientist")
    answer = client.post(at(site.experiment, "respond"), json=seen(site.experiment, text="Why so hot?"))
    assert answer.status_code == 201
    [remark] = client.get(at(site.experiment, "decision")).json()["remarks"]
    assert (remark["by"], remark["text"]) == ("scientist", "Why so hot?")
    assert site.ledger.events(site.campaign, kinds=[REMARK])[0].body["revision"] == site.experiment.revision
    stale = client.post(at(site.experiment, "respond"), json={"revision": "0" * 8, "text": "x"})
    assert code(stale) == "revision.stale"


def test_an_edit_can_be_tried_before_it_is_made(site: Site) -> None:
    client = site.signed_in("scientist")

    def trial(**values: Any) -> dict[str, Any]:
        answer = client.post(at(site.experiment, "edit/check"), json=seen(site.experiment, values=values))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    assert trial(temperature=70.0)["ok"] and trial(temperature=70.0)["changed"] == ["temperature"]
    wrong = trial(temperature=1e6, colour=3.0, equivalents="many")
    assert {one["field"] for one in wrong["faults"]} == {"temperature", "colour", "equivalents"} and not wrong["ok"]
    assert "already" in trial(temperature=60.0)["faults"][0]["detail"]
    Latch(site.place).engage("smoke", "ada")
    assert "smoke" in trial(temperature=70.0)["faults"][0]["detail"]
    assert len(site.ledger.experiments(site.campaign)) == 1 and not site.ledger.decisions(site.campaign)


def test_a_person_may_leave_the_campaign_s_range_and_is_told(site: Site) -> None:
    name = opened(site, ASKING.replace("low: 30, high: 120", "low: 50, high: 70"))
    experiment = propose_experiment(site.ledger, name, POINT, by="test")
    trial = seen(experiment, values={"temperature": 71.0})
    found = site.signed_in("scientist").post(at(experiment, "edit/check"), json=trial).json()
    [setting] = [one for one in found["settings"] if one["name"] == "temperature"]
    assert found["ok"] and "own range" in setting["note"] and setting["fault"] is None


def test_what_the_campaign_excludes_is_refused_to_a_person_in_the_same_words(site: Site) -> None:
    text = ASKING + "constraints: [{excluded: {temperature: {above: 65}, equivalents: {below: 3}}}]\n"
    name = opened(site, text)
    experiment = propose_experiment(site.ledger, name, POINT, by="test")
    client = site.signed_in("scientist")
    said = "excluded: equivalents < 3 and temperature > 65. Change equivalents or temperature"
    trial = client.post(at(experiment, "edit/check"), json=seen(experiment, values={"temperature": 66.0})).json()
    assert not trial["ok"] and said in trial["faults"][0]["detail"]
    for answer in (
        client.post(at(experiment, "edit"), json=seen(experiment, values={"temperature": 66.0}, reason="x")),
        client.post(f"/api/v1/campaigns/{name}/experiments", json={"values": {**POINT, "temperature": 66.0}}),
    ):
        assert (answer.status_code, code(answer)) == (422, "point.invalid")
        assert "excluded: equivalents < 3 and temperature > 65" in answer.text
    assert [one.id for one in site.ledger.experiments(name)] == [experiment.id]
    assert "excluded" in client.get(f"/api/v1/campaigns/{name}/board").text


# -- several at once --------------------------------------------------------------------------------------------------


def batch(site: Site, *experiments: Experiment, **changes: Any) -> dict[str, Any]:
    return {
        "revisions": [{"experiment": one.id, "revision": one.revision[:8]} for one in experiments],
        "envelope": ENVELOPE,
        "max_experiments": 5,
        **changes,
    }


def put(site: Site, **values: float) -> Experiment:
    return propose_experiment(site.ledger, site.campaign, {**POINT, **values}, by="test")


def test_a_batch_at_its_edges_is_approved_whole(site: Site) -> None:
    client = site.signed_in("scientist")
    corners = [put(site, residence_time=0.5, temperature=40.0), put(site, residence_time=1.0, temperature=60.0)]
    where = f"/api/v1/campaigns/{site.campaign}/approve-batch"
    assert client.post(f"{where}/check", json=batch(site, *corners)).json()["ok"]
    made = client.post(where, json=batch(site, *corners, max_experiments=2, reason="as planned"))
    assert made.status_code == 201, made.text
    assert [site.ledger.experiment(one.id).state for one in corners] == ["approved", "approved"]
    bodies = [body_of(site.ledger.decision(one["id"])) for one in made.json()]
    assert {body["batch"]["id"] for body in bodies} == {bodies[0]["batch"]["id"]}
    assert bodies[0]["batch"]["parameters"]["temperature"] == {"low": 40.0, "high": 60.0}
    assert not verify(site.ledger).problems


@pytest.mark.parametrize(
    "beyond",
    [
        {"temperature": math.nextafter(60.0, math.inf)},
        {"temperature": math.nextafter(40.0, -math.inf)},
        {"equivalents": math.nextafter(2.0, 3.0)},
    ],
)
def test_just_outside_nothing_is_approved_and_each_is_named(site: Site, beyond: dict[str, float]) -> None:
    client = site.signed_in("scientist")
    inside, outside = put(site), put(site, **beyond)
    where = f"/api/v1/campaigns/{site.campaign}/approve-batch"
    lines = client.post(f"{where}/check", json=batch(site, inside, outside)).json()["lines"]
    assert [line["ok"] for line in lines] == [True, False] and next(iter(beyond)) in lines[1]["why"]
    refused = client.post(where, json=batch(site, inside, outside))
    assert (refused.status_code, code(refused)) == (409, "batch.refused")
    assert outside.id in refused.json()["detail"] and inside.id not in refused.json()["detail"]
    assert [site.ledger.experiment(one.id).state for one in (inside, outside)] == ["proposed", "proposed"]
    assert site.ledger.events(site.campaign, kinds=["decision_refused"])[-1].body["by"] == "scientist"


def test_a_batch_says_of_each_why_not(site: Site) -> None:
    client = site.signed_in("scientist")
    experiments = [put(site) for _ in range(4)]
    where = f"/api/v1/campaigns/{site.campaign}/approve-batch"
    client.post(at(experiments[0], "reject"), json=seen(experiments[0], reason="no"))
    asked = batch(site, *experiments, max_experiments=3)
    asked["revisions"][1]["revision"] = "0" * 8
    asked["revisions"].append({"experiment": "nowhere.1", "revision": "0" * 8})
    why = {line["experiment"]: line["why"] for line in client.post(f"{where}/check", json=asked).json()["lines"]}
    assert "rejected" in why[experiments[0].id] and "revision" in why[experiments[1].id]
    assert why[experiments[2].id] is None and "one more" in why[experiments[3].id] and "no" in why["nowhere.1"]
    partial = {name: ENVELOPE[name] for name in ENVELOPE if name != "temperature"}
    left_out = client.post(f"{where}/check", json=batch(site, experiments[2], envelope=partial)).json()
    assert "says nothing of temperature" in left_out["lines"][0]["why"]
    twice = client.post(where, json=batch(site, experiments[2], experiments[2]))
    assert code(twice) == "request.invalid"
    Latch(site.place).engage("smoke", "ada")
    assert "smoke" in client.post(where, json=batch(site, experiments[2])).json()["detail"]


def test_of_two_batches_that_share_one_the_second_approves_nothing(site: Site) -> None:
    first, shared, second = put(site), put(site), put(site)
    where = f"/api/v1/campaigns/{site.campaign}/approve-batch"
    answers = together(
        lambda: site.signed_in("scientist").post(where, json=batch(site, first, shared)),
        lambda: site.signed_in("operator").post(where, json=batch(site, shared, second)),
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    states = [site.ledger.experiment(one.id).state for one in (first, shared, second)]
    assert sorted(states) == ["approved", "approved", "proposed"] and states[1] == "approved"


# -- two people at once -----------------------------------------------------------------------------------------------


def together(*works: Callable[[], Any]) -> list[Any]:
    """Do several things at the same moment; what came of each, in order."""
    start, found = threading.Barrier(len(works)), [None] * len(works)

    def work(index: int) -> None:
        start.wait()
        found[index] = works[index]()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def refusals(site: Site) -> list[dict[str, Any]]:
    return [event.body for event in site.ledger.events(kinds=["decision_refused"])]


def test_two_approvals_make_one(site: Site) -> None:
    clients = {login: site.signed_in(login) for login in ("scientist", "operator")}
    answers = together(
        *(lambda c=client: c.post(at(site.experiment), json=seen(site.experiment)) for client in clients.values())
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    [decision] = site.ledger.decisions(site.campaign)
    [loser] = [answer.json() for answer in answers if answer.status_code == 409]
    assert loser["code"] == "revision.stale" and f"approve by {decision.decided_by}" in loser["detail"]
    [told] = refusals(site)
    assert told["by"] != decision.decided_by and told["experiments"] == [site.experiment.id]


def test_an_edit_while_somebody_approves_leaves_one_of_both(site: Site) -> None:
    one, other = site.signed_in("scientist"), site.signed_in("operator")
    edited, approved = together(
        lambda: one.post(at(site.experiment, "edit"), json=warmer(site.experiment)),
        lambda: other.post(at(site.experiment), json=seen(site.experiment)),
    )
    assert sorted((edited.status_code, approved.status_code)) == [201, 409]
    state = site.ledger.experiment(site.experiment.id).state
    if edited.status_code == 201:
        assert state == "superseded" and edited.json()["id"] in approved.json()["detail"]
        assert site.ledger.experiment(edited.json()["id"]).state == "proposed", "nobody approved what it is now"
    else:
        assert state == "approved" and "approve by operator" in edited.json()["detail"]
    assert len(refusals(site)) == 1


def test_an_approval_after_an_edit_names_what_stands_now(site: Site) -> None:
    client = site.signed_in("scientist")
    new = client.post(at(site.experiment, "edit"), json=warmer(site.experiment))
    late = site.signed_in("operator").post(at(site.experiment), json=seen(site.experiment))
    assert code(late) == "revision.stale" and new.json()["id"] in late.json()["detail"]
    assert refusals(site)[-1]["by"] == "operator" and "superseded" in refusals(site)[-1]["why"]


def test_an_approval_that_ran_out_is_not_run_and_cannot_be_renewed(site: Site) -> None:
    client = site.signed_in("scientist")
    name = opened(site, ASKING)
    experiment = propose_experiment(site.ledger, name, POINT, by="test")
    answer = client.post(at(experiment), json=seen(experiment, expires_s=0.001))
    assert answer.status_code == 201
    try:
        # Its approval has run out before the loop comes to it: the loop says so, and asks for the next one.
        run_campaign(name, site.ledger, should_stop=lambda: bool(site.ledger.experiments(name, ["proposed"])))
    finally:
        shut_down_laboratory(site.ledger, name)
    assert site.ledger.experiment(experiment.id).state == "expired" and not site.ledger.intents(name)
    late = client.post(at(experiment), json=seen(experiment))
    assert code(late) == "revision.stale" and "expired" in late.json()["detail"]
    assert "expired" in refusals(site)[-1]["why"]


def test_an_approval_while_everything_is_stopped_is_none(site: Site) -> None:
    client = site.signed_in("scientist")
    stopped = site.signed_in("observer").post("/api/v1/stop-all", json={"reason": "smoke"})
    assert stopped.status_code == 200
    answers = together(
        lambda: client.post(at(site.experiment), json=seen(site.experiment)),
        lambda: client.post(at(site.experiment, "edit"), json=warmer(site.experiment)),
    )
    assert [answer.status_code for answer in answers] == [409, 409]
    assert all("smoke" in answer.json()["detail"] and answer.json()["remedy"] for answer in answers)
    assert {told["verb"] for told in refusals(site)} == {"approve", "edit"}
    assert site.ledger.experiment(site.experiment.id).state == "proposed"


def test_a_stop_after_an_approval_voids_it(site: Site) -> None:
    client = site.signed_in("scientist")
    name = opened(site, ASKING)
    experiment = propose_experiment(site.ledger, name, POINT, by="test")
    assert client.post(at(experiment), json=seen(experiment)).status_code == 201
    Latch(site.place).engage("smoke", "ada")
    Latch(site.place).reset("clear", "ada")
    try:
        run_campaign(name, site.ledger, should_stop=lambda: bool(site.ledger.experiments(name, ["proposed"])))
    finally:
        shut_down_laboratory(site.ledger, name)
    found = site.ledger.experiment(experiment.id)
    assert found.state == "expired" and "Stop All" in (found.reason or "") and not site.ledger.intents(name)


# -- separation of duties ---------------------------------------------------------------------------------------------


def test_where_it_is_asked_for_nobody_approves_their_own(site: Site) -> None:
    name = opened(site, TWO)
    scientist, operator = site.signed_in("scientist"), site.signed_in("operator")
    put_up = scientist.post(f"/api/v1/campaigns/{name}/experiments", json={"values": POINT}).json()
    own = site.ledger.experiment(put_up["id"])
    refused = scientist.post(at(own), json=seen(own))
    assert (refused.status_code, code(refused)) == (409, "approver.same") and "colleague" in refused.json()["detail"]
    assert refusals(site)[-1]["why"] == refused.json()["detail"]
    conditions = {one["what"]: one for one in scientist.get(at(own, "decision")).json()["conditions"]}
    assert not conditions["approver"]["holds"]
    edited = operator.post(at(own, "edit"), json=seen(own, values={"temperature": 70.0}, reason="safer")).json()
    new = site.ledger.experiment(edited["id"])
    for client in (scientist, operator):
        assert code(client.post(at(new), json=seen(new))) == "approver.same", "one proposed it, the other edited it"
    where = f"/api/v1/campaigns/{name}/approve-batch"
    together = batch(site, new, envelope={**ENVELOPE, "temperature": {"low": 30.0, "high": 120.0}})
    assert code(operator.post(where, json=together)) == "batch.refused"
    assert site.signed_in("owner").post(at(new), json=seen(new)).status_code == 201


def test_where_it_is_not_asked_for_they_may(site: Site) -> None:
    client = site.signed_in("scientist")
    own = client.post(f"/api/v1/campaigns/{site.campaign}/experiments", json={"values": POINT}).json()
    answer = client.post(f"/api/v1/experiments/{own['id']}/approve", json={"revision": own["revision"][:8]})
    assert answer.status_code == 201
