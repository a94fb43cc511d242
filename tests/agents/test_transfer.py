"""Earlier data: read when a campaign is opened, kept with it, and handed to the planner as they were then."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from athanor.agents import reading, transfer
from athanor.agents.campaign import run_campaign
from athanor.agents.context import propose
from athanor.agents.opening import open_campaign
from athanor.agents.spec import Spec, SpecError, load
from athanor.console.report.build import earlier
from athanor.instruments import laboratory
from athanor.memory.canonical import digest
from athanor.memory.ledger import Ledger
from athanor.planners.problem import Problem
from athanor.planners.source import Source

HEAD = "residence_time [min],equivalents,concentration [mol/L],temperature [K],sty [kg/m^3/h],e_factor\n"
ROWS = "".join(f"{1.0 + 0.1 * k},2.0,0.3,{343.15 + k},{5000 + 100 * k},9.5\n" for k in range(6))


@pytest.fixture
def ledger(home: Path) -> Any:
    with Ledger.create(home / "ledger.db") as opened:
        yield opened


def file(folder: Path, lines: str) -> Path:
    """The ready campaign of a laboratory with earlier data."""
    ready: Path = laboratory.load("snar-flow").campaign_file()  # type: ignore[attr-defined]
    path = folder / "mine.yaml"
    path.write_text(ready.read_text() + f"\ntransfer:\n{lines}\n")
    return path


def table(folder: Path, text: str = HEAD + ROWS, name: str = "old.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_table_is_read_once_and_stays_as_it_was(ledger: Ledger, tmp_path: Path) -> None:
    path = table(tmp_path)
    campaign_id = open_campaign(file(tmp_path, "  - table: old.csv"), ledger)
    [event] = ledger.events(campaign_id, kinds=(transfer.EVENT,))
    assert event.body["hash"] == digest(event.body["source"])
    path.unlink()
    [body] = transfer.stored(ledger, campaign_id, 1)
    source = Source.model_validate(body)
    assert (source.name, len(source.points)) == ("old.csv", 6)
    assert source.origin.startswith("table old.csv, sha256 ")
    assert source.points[1].values["temperature"] == pytest.approx(71.0)  # converted
    assert source.points[1].outcomes["sty"].mean == 5100.0
    problem = Spec.model_validate(ledger.campaign(campaign_id).spec).problem()
    assert transfer.summary(source, problem) == f"{source.origin}: 6 points of {', '.join(problem.outcomes)}"
    with pytest.raises(transfer.TransferLost, match="1 of the 2 sources"):
        transfer.stored(ledger, campaign_id, 2)


def test_a_campaign_is_found_by_id_and_by_name(ledger: Ledger, tmp_path: Path) -> None:
    ready: Any = laboratory.load("snar-flow")
    data = table(tmp_path)
    old = open_campaign(ready.campaign_file(), ledger, data=data)
    new = open_campaign(file(tmp_path, f"  - campaign: {old}"), ledger)
    [body] = transfer.stored(ledger, new)
    name = ledger.campaign(old).name
    assert (body["name"], body["origin"], len(body["points"])) == (old, f"campaign {old} ({name})", 6)
    with pytest.raises(SpecError, match=r"campaigns are called .*give the id of one"):
        open_campaign(file(tmp_path, f"  - campaign: {name!r}"), ledger)


def test_parameters_that_the_data_lack_are_named(ledger: Ledger, tmp_path: Path) -> None:
    lines = [line.split(",") for line in (HEAD + ROWS).splitlines()]
    table(tmp_path, "\n".join(",".join([*cells[:1], *cells[2:]]) for cells in lines))
    missing = r"mine.yaml:\d+: transfer.0.table: .*no column for equivalents.*name each in held .*or in without"
    with pytest.raises(SpecError, match=missing):
        open_campaign(file(tmp_path, "  - table: old.csv"), ledger)
    held = open_campaign(file(tmp_path, "  - {table: old.csv, held: {equivalents: 2.5}}"), ledger)
    assert {p["values"]["equivalents"] for p in transfer.stored(ledger, held)[0]["points"]} == {2.5}
    unknown = open_campaign(file(tmp_path, "  - {table: old.csv, without: [equivalents]}"), ledger)
    assert "equivalents" not in transfer.stored(ledger, unknown)[0]["points"][0]["values"]


@pytest.mark.parametrize(
    ("lines", "text", "said"),
    [
        (
            "  - campaign: nowhere",
            "",
            "transfer.0.campaign: there is no campaign 'nowhere' in the ledger .*athanor list",
        ),
        ("  - table: gone.csv", "", "transfer.0.table: .*gone.csv does not exist"),
        ("  - table: old.csv", HEAD.replace("[K]", "[min]") + ROWS, "column temperature: cannot convert min to degC"),
        ("  - table: old.csv", HEAD.replace(" [K]", "") + ROWS, "column temperature states no unit"),
        ("  - table: old.csv", HEAD + ROWS + "1,2,warm,340,1,1\n", "old.csv:8: concentration: 'warm' is not a number"),
        (
            "  - table: old.csv",
            HEAD + "1,2,0.3,340,1,1\n",
            "5 usable points of one outcome are needed; it has sty at 1",
        ),
        ("  - table: old.csv", HEAD.replace("sty", "a").replace("e_factor", "b") + ROWS, "no column for any outcome"),
        ("  - {table: old.csv, held: {temperature: warm}}", HEAD + ROWS, "transfer.0.held: temperature: 'warm'"),
    ],
)
def test_what_is_wrong_leaves_no_campaign_behind(
    ledger: Ledger, tmp_path: Path, lines: str, text: str, said: str
) -> None:
    table(tmp_path, text)
    with pytest.raises(SpecError, match=rf"mine.yaml:\d+: .*{said}"):
        open_campaign(file(tmp_path, lines), ledger)
    assert ledger.campaigns() == []


def test_the_outcome_of_another_campaign_may_have_another_unit(ledger: Ledger, tmp_path: Path) -> None:
    ready: Any = laboratory.load("snar-flow")
    old = ledger.campaign(open_campaign(ready.campaign_file(), ledger, data=table(tmp_path)))
    spec = load(file(tmp_path, f"  - campaign: {old.id}"))
    profile = ready.profile()
    read = lambda: transfer.read_sources(spec, profile, ledger, lambda path: None)  # noqa: E731
    assert read()[1] == []
    changed = old.model_copy(update={"id": "other-1", "problem": _in_hours(old.problem), "problem_hash": "h2"})
    ledger.add_campaign(changed)
    spec = load(file(tmp_path, "  - campaign: other-1"))
    [wrong] = read()[1]
    assert "residence_time of campaign other-1 is in kelvin, and in min here" in wrong.message
    assert "athanor results other-1 --csv" in wrong.remedy


def _in_hours(problem: dict[str, Any]) -> dict[str, Any]:
    parameters = [{**p, "unit": "kelvin"} if p["name"] == "residence_time" else p for p in problem["parameters"]]
    return {**problem, "parameters": parameters}


def test_two_sources_of_one_name_are_refused_before_anything_is_opened(ledger: Ledger, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        table(tmp_path / folder)
    with pytest.raises(SpecError, match=r"transfer.1.table: two tables are called old.csv \(rename one of the files"):
        open_campaign(file(tmp_path, "  - table: a/old.csv\n  - table: b/old.csv"), ledger)
    with pytest.raises(SpecError, match=r"transfer.1: table .*old.csv is named twice"):
        open_campaign(file(tmp_path, "  - table: a/old.csv\n  - table: ./a/old.csv"), ledger)
    assert ledger.campaigns() == []
    ready: Any = laboratory.load("snar-flow")
    old = open_campaign(ready.campaign_file(), ledger, data=table(tmp_path))
    with pytest.raises(SpecError, match=rf"transfer.1.campaign: campaign {old} is named twice"):
        lines = f"  - campaign: {old}\n  - campaign: {ledger.campaign(old).name!r}"
        open_campaign(file(tmp_path, lines), ledger)


def test_a_parameter_that_was_words_in_another_campaign_is_a_fault_and_no_error(ledger: Ledger, tmp_path: Path) -> None:
    ready: Any = laboratory.load("snar-flow")
    old = ledger.campaign(open_campaign(ready.campaign_file(), ledger, data=table(tmp_path)))
    words = {"kind": "categorical", "name": "equivalents", "values": ["few", "many"]}
    problem = {
        **old.problem,
        "parameters": [words if p["name"] == "equivalents" else p for p in old.problem["parameters"]],
    }
    ledger.add_campaign(old.model_copy(update={"id": "other-1", "problem": problem, "problem_hash": "h2"}))
    for number, one in enumerate(ledger.observations(old.id)):
        values = {**one.values, "equivalents": "few"}
        moved = {"id": f"other-1/h{number}", "campaign_id": "other-1", "values": values}
        ledger.add_observation(one.model_copy(update=moved))
    [wrong] = reading.read(file(tmp_path, "  - campaign: other-1").read_text(), (), ledger).problems
    assert wrong.field == "transfer.0"
    assert "equivalents = 'few' is not a number" in wrong.message


def test_the_sum_of_a_table_is_that_of_its_file(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + ROWS).replace("\n", "\r\n").encode())
    [body] = transfer.stored(ledger, open_campaign(file(tmp_path, "  - table: old.csv"), ledger))
    assert body["origin"] == f"table old.csv, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def test_a_table_too_long_to_be_kept_is_refused(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LONGEST", 5)
    table(tmp_path)
    with pytest.raises(SpecError, match=r"table .*old.csv: it has 6 points, and at most 5 are kept .*name a part of"):
        open_campaign(file(tmp_path, "  - table: old.csv"), ledger)


def test_what_was_simulated_is_said_to_be_where_this_is_not(ledger: Ledger, tmp_path: Path) -> None:
    ready: Any = laboratory.load("snar-flow")
    old = open_campaign(ready.campaign_file(), ledger, data=table(tmp_path))
    spec, profile = load(file(tmp_path, f"  - campaign: {old}")), ready.profile()
    [source], _ = transfer.read_sources(spec, profile, ledger, lambda path: None)
    assert not any("simulated" in note for note in source.notes)
    real = profile.model_copy(update={"simulated": False})
    [source], _ = transfer.read_sources(spec, real, ledger, lambda path: None)
    assert "it was simulated" in source.notes


def test_a_text_from_elsewhere_may_not_name_a_table(ledger: Ledger, tmp_path: Path) -> None:
    text = file(tmp_path, f"  - table: {table(tmp_path)}").read_text()
    [wrong] = reading.read(text, (), ledger).problems
    assert (wrong.field, wrong.message) == ("transfer.0.table", "no table is read here")
    [wrong] = reading.read(file(tmp_path, "  - campaign: nowhere").read_text(), (), ledger).problems
    assert wrong.field == "transfer.0.campaign"
    assert wrong.line is not None


def test_the_planner_gets_them_and_says_so(bench: Any, tmp_path: Path) -> None:
    path = table(tmp_path)
    named: dict[str, Any] = {"planner": "bayesian", "reasoner": "none", "transfer": [{"table": str(path)}]}
    campaign_id = bench.open(experiments=1, **named)
    assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    [experiment] = bench.ledger.experiments(campaign_id)
    assert experiment.candidate["why"]["method"] == "test of earlier data"
    assert "what old.csv holds for the best" in experiment.candidate["why"]["detail"]


def test_the_report_says_what_was_read_and_what_it_had_to_say(ledger: Ledger, tmp_path: Path) -> None:
    table(tmp_path)
    campaign_id = open_campaign(file(tmp_path, "  - table: old.csv"), ledger)
    campaign = ledger.campaign(campaign_id)
    problem = Problem.model_validate(campaign.problem)
    [bare] = earlier(ledger, campaign_id, problem, [])
    assert bare.endswith("6 points of " + ", ".join(problem.outcomes))
    why = {"detail": "d", "transfer": ["old.csv: related in sty, weight 0.90", "other.csv: related in sty"]}
    values = {"residence_time": 1.0, "equivalents": 2.0, "concentration": 0.3, "temperature": 60.0}
    given: dict[str, Any] = {"purpose": "explore", "source": "planner", "candidate": {"why": why}, "replicates": 1}
    experiment = ledger.add_experiment(propose(ledger, campaign, values=values, **given))
    [line] = earlier(ledger, campaign_id, problem, [experiment])
    assert line == f"{bare}. At the last suggestion: old.csv: related in sty, weight 0.90"


def test_a_campaign_whose_data_were_not_stored_does_not_go_on_without(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "store", lambda *given: None)  # as if the process had ended there
    named: dict[str, Any] = {"planner": "bayesian", "reasoner": "none", "transfer": [{"table": str(table(tmp_path))}]}
    campaign_id = bench.open(experiments=1, **named)
    assert run_campaign(campaign_id, bench.ledger) == "paused"
    assert "0 of the 1 sources" in str(bench.ledger.campaign(campaign_id).reason)
