"""The files of the pages: what is served, what they ask for, what they are made of."""

from __future__ import annotations

import hashlib
import re
from importlib import resources

import pytest
from fastapi import FastAPI

from athanor.console.api.app import describe
from athanor.console.pages import ADDRESSES, POLICY
from tests.console.api.site_rig import Site

FILES = {
    item.name: item.read_text(encoding="utf-8")
    for item in resources.files("athanor.console.pages").iterdir()
    if item.name.endswith((".js", ".html"))
}
OURS = {name: text for name, text in FILES.items() if name != "preact.js"}
VENDORED = "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7"
HOLE = "§"


def asked_for() -> set[tuple[str, str]]:
    """Method and path (holes as one sign) of what the modules ask the API for, where it is written out in one place.

    What is put together from pieces is seen by the tests in the browser, where every request must meet a route.
    """
    found = set()
    for text in OURS.values():
        for name, path in re.findall(r'\b(get|post|useData)\(\s*["`](/[^"`]*)["`]', text):
            found.add(("POST" if name == "post" else "GET", path))
        for method, path in re.findall(r'\bask\(\s*"([A-Z]+)",\s*["`](/[^"`]*)["`]', text):
            found.add((method, path))
    return {(method, re.sub(r"\$\{.*?\}(?=/|$|\?)", HOLE, path).split("?")[0]) for method, path in found}


def test_every_address_that_is_asked_for_is_a_route_behind_the_door() -> None:
    routes = {
        (method.upper(), re.sub(r"\{\w+\}", HOLE, path.removeprefix("/api/v1")))
        for path, methods in describe(FastAPI()).openapi()["paths"].items()
        for method in methods
    }
    asked = asked_for()
    assert ("GET", "/overview") in asked and ("DELETE", f"/sessions/{HOLE}") in asked
    assert asked <= routes, asked - routes


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_written_that_the_policy_forbids() -> None:
    for name, text in OURS.items():
        for imported in re.findall(r'from "([^"]+)"', text):
            assert imported.startswith("./") and imported[2:] in FILES, f"{name} imports {imported}"
        assert not re.search(r"\bstyle=|innerHTML|\beval\(|new Function|dangerously", text), name
        assert not re.search(r"https?://(?!www\.w3\.org)", text), name
    assert "<script>" not in FILES["index.html"] and "<style" not in FILES["index.html"]


def test_the_vendored_file_is_what_it_was() -> None:
    body = (resources.files("athanor.console.pages") / "preact.js").read_bytes()
    assert hashlib.sha256(body).hexdigest() == VENDORED


def test_the_browser_and_the_server_know_the_same_pages() -> None:
    written = set(re.findall(r'^  \["(/[^"]*)"', FILES["main.js"], re.MULTILINE)) | {"/sign-in"}
    assert {re.sub(r":\w+", "{a}", one) for one in written} == set(ADDRESSES)


@pytest.mark.parametrize("path", ["/", "/campaigns/x", "/static/main.js", "/static/charts.css"])
def test_a_file_is_served_to_all_with_its_policy_and_once(site: Site, path: str) -> None:
    answer = site.visitor().get(path)
    assert answer.status_code == 200 and answer.headers["content-security-policy"] == POLICY
    again = site.visitor().get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304 and not again.content


def test_no_other_file_is_served(site: Site) -> None:
    for path in ("/static/__init__.py", "/static/..%2fapi%2fapp.py", "/static/none.js", "/nowhere"):
        answer = site.visitor().get(path)
        assert answer.status_code == 404 and answer.json()["code"] == "no_such_page"
