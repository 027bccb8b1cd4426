"""A redirect to another host passes that host's limits, and is no second request to the first host."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from stepwell import Client, Context, TriggerEvent, embedded
from stepwell.wire import fetch_headers
from tests.e2e.ugly import until
from tests.ports import free_port
from tests.server.hostile_server import Exchange, Server, hostile, plain, redirect

GO = TriggerEvent(event="go")


def fetching(server: Server, many: int = 1, **options: Any) -> Client:
    client = Client(app_id="hops")

    @client.create_function(fn_id="f", trigger=GO)
    async def f(ctx: Context) -> list[Any]:
        calls = [ctx.step.fetch(f"{server.url}/{n}", id=f"n{n}", **options) for n in range(many)]
        found = await asyncio.gather(*calls)
        return [[r.status_code, r.text, str(r.url), [hop.status_code for hop in r.history]] for r in found]

    return client


async def test_limits_of_a_host_hold_for_hops_to_it(tmp_path: Path) -> None:
    flying = most = 0

    async def slow(exchange: Exchange) -> None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.02)
        flying -= 1
        await exchange.send(plain(b"there"))

    async with hostile(slow) as last, hostile(redirect(f"{last.url}/end")) as first:
        rules = {f"127.0.0.1:{last.port}": {"concurrency": 2}}
        async with embedded(fetching(first, 12), db=f"sqlite:///{tmp_path}/a.db", hosts=rules) as platform:
            (result,) = await platform.wait(await platform.send("go"), 20)
        assert result.output == [[200, "there", f"{last.url}/end", [302]]] * 12
        assert (len(first.seen), len(last.seen), most) == (12, 12, 2)


async def test_a_hop_that_fails_is_tried_again_by_itself(tmp_path: Path) -> None:
    """The POST was answered, with a place to look at: trying that again must not post again."""
    busy = plain(b"", "503 Busy")
    async with (
        hostile(busy, busy, plain(b"done")) as last,
        hostile(redirect(last.url + "/x", "303 See Other")) as first,
    ):
        client = fetching(first, method="POST", content=b"pay")
        async with embedded(client, db=f"sqlite:///{tmp_path}/a.db", retry_interval=0.01) as platform:
            (result,) = await platform.wait(await platform.send("go"), 20)
            assert result.output == [[200, "done", f"{last.url}/x", [303]]]
            view = await platform.run(result.run_id)
        assert view is not None
        assert [exchange.body for exchange in first.seen] == [b"pay"]
        assert [exchange.lines[0] for exchange in last.seen] == [b"GET /x HTTP/1.1"] * 3


async def test_hops_over_several_hosts_keep_their_history(tmp_path: Path) -> None:
    async with (
        hostile(plain(b"end")) as third,
        hostile(redirect("/own"), redirect(third.url + "/z", "307 T")) as second,
        hostile(redirect("/own", "308 P"), redirect(second.url + "/y", "301 M")) as first,
    ):
        client = fetching(first, headers={"Authorization": "Bearer s3cr3t", "X-Kept": "1"})
        async with embedded(client, db=f"sqlite:///{tmp_path}/a.db") as platform:
            event = await platform.send("go")
            (result,) = await platform.wait(event, 20)
            view = await platform.view_of(event)
        assert result.output == [[200, "end", f"{third.url}/z", [308, 301, 302, 307]]]
        assert b"s3cr3t" in first.seen[1].head
        assert b"s3cr3t" not in second.seen[0].head + third.seen[0].head
        assert third.seen[0].header(b"x-kept") == [b"1"]
        assert view is not None
        (step,) = view.steps.values()
        assert [(attempt.status, attempt.reason, attempt.size) for attempt in step.attempts] == [
            (301, f"it redirects to {second.url}", None),
            (307, f"it redirects to {third.url}", None),
            (200, None, len(b"end")),
        ]


async def test_headers_that_the_platform_is_told_to_take_for_credentials_are_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not sent to another origin, and masked wherever they are shown."""
    monkeypatch.setattr(fetch_headers, "_further", set[str]())
    monkeypatch.setenv("STEPWELL_SENSITIVE_HEADERS", "x-acme, x-other")
    answer = plain(b"done", "200 OK", "X-Acme: hush")
    async with hostile(answer) as last, hostile(redirect(last.url)) as first:
        client = fetching(first, headers={"X-ACME": "s3cr3t", "X-Kept": "1"})
        async with embedded(client, db=f"sqlite:///{tmp_path}/a.db", port=free_port()) as platform:
            event = await platform.send("go")
            await platform.wait(event, 20)
            view = await platform.view_of(event)
            assert view is not None
            async with httpx2.AsyncClient(trust_env=False) as web:
                shown = (await web.get(f"{platform.url}/v1/runs/{view.run.run_id}/steps")).text
        assert first.seen[0].header(b"x-acme") == [b"s3cr3t"]
        assert last.seen[0].header(b"x-acme") == []
        assert last.seen[0].header(b"x-kept") == [b"1"]
        assert "hush" not in shown
        assert "x-acme" in shown.lower()


async def test_a_hop_under_way_at_the_end_of_a_process_goes_on_from_there(tmp_path: Path) -> None:
    async def never(exchange: Exchange) -> None:
        await exchange.reader.read()

    db = f"sqlite:///{tmp_path}/a.db"
    async with hostile(never, plain(b"done")) as last, hostile(redirect(last.url + "/x")) as first:
        async with embedded(fetching(first), db=db, drain=0) as platform:
            event = await platform.send("go")
            await until(lambda: len(last.seen) == 1)
        async with embedded(fetching(first), db=db) as platform:
            (result,) = await platform.wait(event, 20)
        assert result.output == [[200, "done", f"{last.url}/x", [302]]]
        assert (len(first.seen), len(last.seen)) == (1, 2)


async def test_a_loop_over_two_hosts_ends(tmp_path: Path) -> None:
    client = Client(app_id="hops")
    addresses: list[str] = []

    async def back(exchange: Exchange) -> None:
        await exchange.send(redirect(addresses[0]))

    async with hostile(back) as second, hostile(redirect(second.url)) as first:
        addresses.append(first.url)

        @client.create_function(fn_id="f", trigger=GO, retries=0)
        async def f(ctx: Context) -> None:
            await ctx.step.fetch(first.url)

        async with embedded(client, db=f"sqlite:///{tmp_path}/a.db") as platform:
            (result,) = await platform.wait(await platform.send("go"), 20)
        assert result.status == "failed"
        assert "more than 20 redirects" in msgspec.json.encode(result.output).decode()
        assert len(first.seen) + len(second.seen) == 21
