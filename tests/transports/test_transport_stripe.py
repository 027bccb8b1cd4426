"""The real Stripe SDK, on requests, made durable, against a server that speaks its API."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell
from stepwell.transports.requests import durable_session


class Shop:
    """The local server: what it saw, and how often it is still too busy."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[tuple[str, str, Any, dict[str, str]]] = []
        self.busy = 2

    def keys(self, path: str) -> list[str]:
        return [headers.get("idempotency-key", "") for _, seen, _, headers in self.seen if seen == path]

    async def answer(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((request.method, request.path, form, headers))
        return await getattr(self, f"{request.method.lower()}_{request.path.split('/')[2]}")(request, form)

    async def post_customers(self, _request: web.Request, form: Any) -> web.Response:
        made = {"id": "cus_1", "object": "customer", "email": form["email"], "metadata": {"a": form["metadata[a]"]}}
        return web.json_response(made)

    async def get_customers(self, request: web.Request, _form: Any) -> web.Response:
        after = int(request.query.get("starting_after", "cus_0").removeprefix("cus_"))
        page = [{"id": f"cus_{n}", "object": "customer"} for n in range(after + 1, after + 3) if n <= 5]
        return web.json_response({"object": "list", "url": "/v1/customers", "has_more": after < 3, "data": page})

    async def post_charges(self, _request: web.Request, _form: Any) -> web.Response:
        error = {"type": "card_error", "code": "card_declined", "message": "Your card was declined."}
        return web.json_response({"error": error}, status=402)

    async def post_refunds(self, _request: web.Request, form: Any) -> web.Response:
        if self.busy:
            self.busy -= 1
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0"})
        return web.json_response({"id": "re_1", "object": "refund", "amount": int(form["amount"])})

    async def post_files(self, _request: web.Request, form: Any) -> web.Response:
        content = form["file"].file.read()
        digest = hashlib.sha256(content).hexdigest()
        return web.json_response({"id": digest, "object": "file", "purpose": form["purpose"], "size": len(content)})


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    made = Shop()
    app = web.Application()
    app.add_routes([web.route("*", "/v1/{name}", made.answer)])
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


def client(shop: Shop, **options: Any) -> stripe.StripeClient:
    """As the documentation has it."""
    return stripe.StripeClient(
        "sk_test_1",
        http_client=stripe.RequestsClient(session=durable_session(**options)),
        max_network_retries=0,
        base_addresses={"api": shop.url, "files": shop.url},
    )


async def test_forms_and_pages(run: Any, shop: Shop) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        api = client(shop)
        made = api.v1.customers.create({"email": "a+b@c.test", "metadata": {"a": "1 & 2"}})
        ids = [customer.id for customer in api.v1.customers.list({"limit": 2}).auto_paging_iter()]
        return [made.id, made.email, made.metadata["a"], ids]  # type: ignore[index]

    result = await run(f)
    assert result.status == "completed", result.output
    assert result.output == ["cus_1", "a+b@c.test", "1 & 2", ["cus_1", "cus_2", "cus_3", "cus_4", "cus_5"]]
    assert [(method, path) for method, path, _, _ in shop.seen] == [("POST", "/v1/customers")] + [
        ("GET", "/v1/customers")
    ] * 3


async def test_errors_are_stripes_own(run: Any, shop: Shop, refused: str) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        with pytest.raises(stripe.CardError) as declined:
            client(shop).v1.charges.create({"amount": 5, "currency": "eur"})
        nowhere = Shop()
        nowhere.url = refused
        with pytest.raises(stripe.APIConnectionError) as unreachable:
            client(nowhere, retry=1).v1.customers.list()
        error = unreachable.value.__cause__
        assert error is not None
        return [declined.value.code, type(error).__name__, type(error.__cause__).__name__]

    result = await run(f)
    assert result.output == ["card_declined", "ConnectionError", "FetchError"]
    assert len(shop.seen) == 1


async def test_a_connection_error_that_is_not_caught_is_final(run: Any, refused: str) -> None:
    nowhere = Shop()
    nowhere.url = refused

    def f(ctx: stepwell.ContextSync) -> Any:
        client(nowhere, retry=1).v1.customers.list()

    result = await run(f, retries=5)
    assert (result.status, result.output["name"]) == ("failed", "APIConnectionError")


@pytest.mark.parametrize("given", [None, "order-42"])
async def test_busy_is_retried_by_the_platform_with_the_sdks_own_key(run: Any, shop: Shop, given: str | None) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        options: Any = {} if given is None else {"idempotency_key": given}
        return client(shop).v1.refunds.create({"charge": "ch_1", "amount": 7}, options).amount

    result = await run(f, retries=3)
    assert result.status == "completed", result.output
    assert result.output == 7
    keys = shop.keys("/v1/refunds")
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert keys[0] == given if given else len(keys[0]) >= 32


async def test_a_file_is_uploaded(run: Any, shop: Shop) -> None:
    content = bytes(range(256)) * 40

    def f(ctx: stepwell.ContextSync) -> Any:
        made = client(shop).v1.files.create({"purpose": "dispute_evidence", "file": io.BytesIO(content)})
        return [made.id, made.purpose, made.size]

    result = await run(f)
    assert result.status == "completed", result.output
    assert result.output == [hashlib.sha256(content).hexdigest(), "dispute_evidence", len(content)]
    assert [path for _, path, _, _ in shop.seen] == ["/v1/files"]


async def test_plain_inside_of_a_step_and_outside_of_a_run(run: Any, shop: Shop) -> None:
    def ask() -> int:
        shop.busy = 0
        return client(shop).v1.refunds.create({"charge": "ch_1", "amount": 3}).amount

    def f(ctx: stepwell.ContextSync) -> Any:
        return ctx.step.run("ask", ask)

    assert await asyncio.to_thread(ask) == (await run(f)).output == 3
