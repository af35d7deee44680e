"""Where an HTTP tool lets itself be sent, with which method, and what it takes along."""

import json

import pytest
from aiohttp import web
from yarl import URL

from holdfast_agent.outcome import Failure
from holdfast_agent.tools.http import _at_home
from tests.agent.toolboxes import echo


async def test_redirects_are_followed_within_an_origin_and_a_post_becomes_a_get_where_the_standard_says(serve, open_toolbox):
    async def handler(request):
        moves = {"/seeother": 303, "/temporary": 307}
        if status := moves.get(request.path):
            return web.Response(status=status, headers={"Location": "/there"})
        return await echo(request)

    url = await serve(handler)
    seen = [
        json.loads((await (await open_toolbox(url + path, method="POST")).call("t", {"city": "Z"}, key="k")).content)
        for path in ("/seeother", "/temporary")
    ]
    assert [(each["method"], each["path"], each["body"]) for each in seen] == [("GET", "/there", ""), ("POST", "/there", '{"city": "Z"}')]
    assert [each["headers"]["Idempotency-Key"] for each in seen] == ["k", "k"]


async def test_a_redirect_to_another_origin_is_not_followed(serve, open_toolbox):
    stolen = []

    async def thief(request):
        stolen.append(request.headers)
        return web.Response(text="thanks")

    there = await serve(thief)

    async def handler(_):
        return web.Response(status=302, headers={"Location": there})

    url = await serve(handler)
    source = [{"name": "Authorization", "env": "X"}]
    for environ, http in (({"X": "secret"}, {"headersFrom": source}), ({}, {"headers": {"X-Api-Key": "abc"}}), ({}, {})):
        failure = await (await open_toolbox(url, environ=environ, **http)).call("t", {}, key="k")
        assert failure.kind == "permanent"
        assert f"redirected to {there}, which is another server: if it is meant, set url" in failure.message
        assert failure.reach == "lost"
    assert stolen == []


@pytest.mark.parametrize(
    ("url", "following", "home"),
    [
        ("http://a.example/x", "http://a.example/y", True),
        ("http://a.example/x", "https://a.example/x", True),
        ("https://a.example/x", "http://a.example/x", False),
        ("http://a.example/x", "https://b.example/x", False),
        ("http://a.example/x", "http://a.example:3500/x", False),
        ("http://a.example:8080/x", "https://a.example:8443/x", False),
        ("http://a.example/x", "http://169.254.169.254/latest", False),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:3500/v1.0/metadata", False),
    ],
)
def test_a_server_may_send_a_call_on_to_itself_and_to_its_tls_only(url, following, home):
    assert _at_home(URL(url), URL(following)) is home


async def test_endless_redirects_and_redirects_out_of_http_are_refused(serve, open_toolbox):
    async def handler(request):
        return web.Response(status=302, headers={"Location": "file:///etc/passwd" if request.path == "/file" else "/again"})

    url = await serve(handler)
    assert await (await open_toolbox(url)).call("t", {}, key="k") == Failure("permanent", "more than 5 redirects", reach="lost")
    assert await (await open_toolbox(f"{url}/file")).call("t", {}, key="k") == Failure(
        "permanent", "redirected to file://, which is not followed", reach="lost"
    )


@pytest.mark.parametrize(
    ("method", "status", "then"), [("DELETE", 303, "GET"), ("PUT", 303, "GET"), ("POST", 302, "GET"), ("GET", 301, "GET")]
)
async def test_the_method_after_a_redirect_is_the_one_that_the_standard_names(serve, open_toolbox, method, status, then):
    async def handler(request):
        return web.Response(status=status, headers={"Location": "/there"}) if request.path == "/here" else await echo(request)

    box = await open_toolbox(f"{await serve(handler)}/here", method=method)
    seen = json.loads((await box.call("t", {"city": "Z"}, key="k")).content)
    assert (seen["method"], seen["path"], seen["body"]) == (then, "/there", "")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("status", [301, 302])
async def test_a_redirect_that_leaves_the_method_open_is_not_followed(serve, open_toolbox, method, status):
    seen = []

    async def handler(request):
        seen.append(request.method)
        return web.Response(status=status, headers={"Location": "/there"})

    failure = await (await open_toolbox(await serve(handler), method=method)).call("t", {"city": "Z"}, key="k")
    assert (failure.kind, failure.reach, seen) == ("permanent", "lost", [method])
    assert "/there" in failure.message
    assert "set url" in failure.message


@pytest.mark.parametrize(("moved", "reach"), [(303, "lost"), (302, "lost"), (307, "answered"), (308, "answered")])
async def test_a_failure_of_what_a_call_is_sent_on_to_fetch_says_nothing_of_the_call(serve, open_toolbox, moved, reach):
    async def handler(request):
        return web.Response(status=404) if request.path == "/there" else web.Response(status=moved, headers={"Location": "/there"})

    failure = await (await open_toolbox(await serve(handler), method="POST")).call("t", {"city": "Z"}, key="k")
    assert (failure.kind, failure.message, failure.reach) == ("permanent", "HTTP 404", reach)
