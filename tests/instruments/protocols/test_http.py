from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from athanor.instruments.profile import DetectorSpec
from athanor.instruments.protocols.client import NotConnected, Refused, SignalSpec, WrongType
from athanor.instruments.protocols.devices import WiredDetector
from athanor.instruments.protocols.http import Address, HttpClient
from athanor.instruments.protocols.wiring import DetectorWiring
from tests.instruments.protocols.conformance import FAR, REPLY_S, Conformance, connected, play, until
from tests.instruments.protocols.http_rig import HttpRig, NodeRig


class TestHttp(Conformance):
    rig_class = HttpRig


class TestMadsciNode(Conformance):
    rig_class = NodeRig


@pytest.fixture
def rig() -> Iterator[HttpRig]:
    rig = HttpRig()
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


@pytest.fixture
def node() -> Iterator[NodeRig]:
    rig = NodeRig()
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


@pytest.mark.parametrize(
    ("text", "kind", "path", "pointer"),
    [
        ("/state", "GET", "/state", ()),
        ("/state#/a/0/b~1c~0d", "GET", "/state", ("a", "0", "b/c~d")),
        ("PUT /position#/value", "PUT", "/position", ("value",)),
        ("action:move#/target", "action", "move", ("target",)),
        ("admin:safety_stop", "admin", "safety_stop", ()),
    ],
)
def test_an_address_is_taken_apart(text: str, kind: str, path: str, pointer: tuple[str, ...]) -> None:
    assert Address.parse(text, "GET") == Address(kind, path, pointer)


@pytest.mark.parametrize("text", ["state", "DELETE /all", "action:", "http://elsewhere/state", "PUT"])
def test_an_address_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no address|names nothing"):
        Address.parse(text, "GET")


@pytest.mark.parametrize(("address", "options"), [("ftp://a", {}), ("127.0.0.1:1", {}), ("http://a", {"proxy": "b"})])
def test_a_controller_that_makes_no_sense_is_refused(address: str, options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="node"):
        HttpClient(address, options, "node")


def test_what_the_service_refuses_is_told_in_its_words(rig: HttpRig) -> None:
    async def body() -> None:
        async with connected(rig) as client:
            with pytest.raises(Refused, match=r"stage\.label.*422.*must be a number"):
                await client.write(rig.signal("label", write="PUT /position#/value"), "far", REPLY_S)
            with pytest.raises(Refused, match=r"stage\.nowhere.*404"):
                await client.read(rig.signal("nowhere"), REPLY_S)
            with pytest.raises(Refused, match=r"nothing at /axis/speed"):
                await client.read(rig.signal("readback", read="/state#/axis/speed/now"), REPLY_S)
            with pytest.raises(Refused, match=r"429.*ask less often.*refuse a stop as well"):
                await client.read(rig.signal("readback", read="/often"), REPLY_S)
            with pytest.raises(Refused, match="307"):
                await client.read(rig.signal("readback", read="/moved"), REPLY_S)
            with pytest.raises(WrongType, match="not what was meant"):
                await client.read(rig.signal("readback", read="/page"), REPLY_S)

    play(body)


def test_a_token_comes_from_the_environment(rig: HttpRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_TOKEN", "open-sesame")
    rig.options = {"token_env": "BENCH_TOKEN"}

    async def body() -> None:
        async with connected(rig) as client:
            await client.read(rig.signal("count"), REPLY_S)
            assert {headers["Authorization"] for *_, headers in rig.heard} == {"Bearer open-sesame"}

    play(body)


def test_no_proxy_of_the_environment_stands_in_between(rig: HttpRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    async def body() -> None:
        async with connected(rig) as client:
            assert (await client.read(rig.signal("count"), REPLY_S)).value == 7

    play(body)


def test_an_action_is_sent_with_all_its_arguments(node: NodeRig) -> None:
    async def body() -> None:
        async with connected(node) as client:
            await client.write(node.signal("setpoint"), 1.5, REPLY_S)
            sent = [body for method, path, body, _ in node.heard if (method, path) == ("POST", "/action/move")]
            assert sent == [{"args": {"target": 1.5, "v": 2}}]

    play(body)


def test_a_node_in_error_takes_no_action_and_says_why(node: NodeRig) -> None:
    node.errors = ["gripper lost the plate"]

    async def body() -> None:
        async with connected(node) as client:
            errored = SignalSpec(read="/status#/errored", type="bool", device="stage", name="errored")
            assert (await client.read(errored, REPLY_S)).value is True
            with pytest.raises(Refused, match=r"stage\.setpoint.*not_ready.*gripper lost the plate"):
                await client.write(node.signal("setpoint"), 1.0, REPLY_S)
            assert node.plant.moves == []

    play(body)


def test_after_a_safety_stop_nothing_moves_until_the_reset(node: NodeRig) -> None:
    async def body() -> None:
        async with connected(node) as client:
            axis = node.axis(client, stop=SignalSpec(write="admin:safety_stop", type="int"))
            status = axis.set(FAR)
            await until(lambda: node.plant.position > 0.1, "it moves")
            await axis.stop(success=False)
            assert not node.plant.is_moving
            with pytest.raises(RuntimeError, match="stage was stopped at"):
                await status
            with pytest.raises(Refused, match="Node is stopped"):
                await axis.set(1.0)
            reset = SignalSpec(write="admin:reset", type="int", device="stage", name="reset")
            await client.write(reset, 1, REPLY_S)
            there = node.plant.position + 0.5
            await axis.set(there)
            assert node.plant.position == pytest.approx(there, abs=0.001)
            with pytest.raises(Refused, match="dance is not supported"):
                await client.write(reset.model_copy(update={"write": "admin:dance"}), 1, REPLY_S)

    play(body)


def measuring(client: object) -> WiredDetector:
    wiring = DetectorWiring.model_validate(
        {
            "controller": "node",
            "trigger": {"write": "action:measure", "type": "int"},
            "done": {"read": "status:measure", "type": "bool"},
            "signals": {"counts": {"read": "result:measure#/counts"}},
            "probe": False,
        }
    )
    return WiredDetector("camera", DetectorSpec(signals={"counts": None}), wiring, client)  # type: ignore[arg-type]


def test_a_measuring_action_is_started_awaited_and_read(node: NodeRig) -> None:
    async def body() -> None:
        async with connected(node) as client:
            detector = measuring(client)
            await detector.trigger()
            assert (await detector.read())["counts"]["value"] == 0.625
            node.plant.measured = 0.5
            await detector.trigger()
            assert (await detector.read())["counts"]["value"] == 0.5

    play(body)


def test_an_action_that_fails_is_an_error_and_no_result(node: NodeRig) -> None:
    async def body() -> None:
        async with connected(node) as client:
            detector = measuring(client)
            with pytest.raises(Refused, match="was not started"):
                await client.read(SignalSpec(read="result:measure#/counts"), REPLY_S)
            node.plant.move(FAR)  # so that it is under way for a while
            status = detector.trigger()
            await until(lambda: any("/status" in path for _, path, *_ in node.heard[1:]), "it is awaited")
            node.errors = ["lamp broke"]
            node.plant.stop()
            with pytest.raises(Refused, match=r"camera\.done.*failed.*lamp broke"):
                await status

    play(body)


def test_a_request_is_never_sent_twice(node: NodeRig) -> None:
    async def body() -> None:
        async with connected(node) as client:
            await client.read(node.signal("count"), REPLY_S)
            node.stall()
            before = node.arrived
            task = asyncio.ensure_future(client.write(node.signal("setpoint"), 1.0, REPLY_S))
            await until(lambda: node.arrived > before, "the request arrives")
            node.drop()
            with pytest.raises(NotConnected, match="may have taken effect"):
                await task
            node.resume()
            node.restore()
            await client.read(node.signal("count"), REPLY_S)
            assert node.plant.moves == []

    play(body)
