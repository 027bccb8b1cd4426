"""The app on a real server, once with each framework."""

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
import tornado.httpserver
import tornado.netutil
import tornado.web
import uvicorn
from aiohttp import web
from django.conf import settings as django_settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings
from fastapi import FastAPI
from flask import Flask
from litestar import Litestar
from litestar.config.csrf import CSRFConfig
from starlette.applications import Starlette

from stepwell import Client
from stepwell.frameworks import aiohttp, asgi, aws_lambda, fastapi, flask, litestar, starlette, wsgi
from stepwell.frameworks import django as stepwell_django
from stepwell.frameworks import tornado as stepwell_tornado
from stepwell.frameworks.loop_thread import LoopThread

PATH = "/api/stepwell"
Served = Callable[..., AbstractContextManager[str]]
"""From a client, and what ``serve`` takes beside it, to the app's origin."""

django_settings.configure(
    ALLOWED_HOSTS=["*"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
    ROOT_URLCONF=(),
    SECRET_KEY="made up",
)
django.setup()


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def on_wsgi(app: Any) -> Iterator[str]:
    with make_server("127.0.0.1", 0, app, _ThreadingServer, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def on_asgi(app: Any) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", loop="asyncio"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        end = time.monotonic() + 10
        while not server.started and time.monotonic() < end:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@contextmanager
def on_litestar(client: Client, **where: Any) -> Iterator[str]:
    handler = litestar.serve(client, **where)
    app = Litestar(route_handlers=[handler], csrf_config=CSRFConfig(secret="made up"), logging_config=None)
    with on_asgi(app) as origin:
        yield origin


@contextmanager
def on_django(server: Any, handler: type[Any], client: Client, **where: Any) -> Iterator[str]:
    with override_settings(ROOT_URLCONF=(stepwell_django.serve(client, **where),)), server(handler()) as origin:
        yield origin


@contextmanager
def on_flask(client: Client, **where: Any) -> Iterator[str]:
    app = Flask("shop")
    blocking = flask.serve(app, client, **where)
    with on_wsgi(app) as origin:
        yield origin
    blocking.close()


@contextmanager
def with_app(app: Any, module: Any, client: Client, **where: Any) -> Iterator[str]:
    module.serve(app, client, **where)
    with on_asgi(app) as origin:
        yield origin


@contextmanager
def on_aiohttp(client: Client, **where: Any) -> Iterator[str]:
    app = web.Application()
    aiohttp.serve(app, client, **where)
    with on_aiohttp_app(app) as origin:
        yield origin


@contextmanager
def on_aiohttp_app(app: web.Application) -> Iterator[str]:
    runner, thread = web.AppRunner(app, access_log=None), LoopThread()

    async def start(listener: socket.socket) -> None:
        await runner.setup()
        await web.SockSite(runner, listener).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread.run(start(listener))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.run(runner.cleanup())
        thread.close()


@contextmanager
def on_tornado(client: Client, **where: Any) -> Iterator[str]:
    app = tornado.web.Application(xsrf_cookies=True, cookie_secret="made up")
    stepwell_tornado.serve(app, client, **where)
    with on_tornado_app(app) as origin:
        yield origin


@contextmanager
def on_tornado_app(app: tornado.web.Application) -> Iterator[str]:
    app.settings["log_function"] = lambda _: None
    thread = LoopThread()
    (listener,) = tornado.netutil.bind_sockets(0, "127.0.0.1")

    async def start() -> tornado.httpserver.HTTPServer:
        server = tornado.httpserver.HTTPServer(app)
        server.add_socket(listener)
        return server

    async def stop(server: tornado.httpserver.HTTPServer) -> None:
        server.stop()
        await server.close_all_connections()

    server = thread.run(start())
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread.run(stop(server))
    thread.close()


def event_of(environ: dict[str, Any], shape: str) -> dict[str, Any]:
    """The request as API Gateway hands it to Lambda: 1.0 for REST APIs, 2.0 for HTTP APIs and function URLs."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    method, path, query = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]
    names = {name[5:].replace("_", "-").title(): value for name, value in environ.items() if name.startswith("HTTP_")}
    sent = {"body": base64.b64encode(body).decode() if body else None, "isBase64Encoded": bool(body)}
    if shape == "2.0":
        context = {"http": {"method": method, "path": path}, "domainName": "api.test"}
        headers = {"x-forwarded-proto": "http", **{name.lower(): value for name, value in names.items()}}
        return {"version": "2.0", "rawPath": path, "rawQueryString": query, "headers": headers, **sent} | {
            "requestContext": context
        }
    values = parse_qs(query)
    return {
        "httpMethod": method,
        "path": path,
        "headers": {"X-Forwarded-Proto": "http", **names},
        "queryStringParameters": {name: found[-1] for name, found in values.items()} or None,
        "multiValueQueryStringParameters": values or None,
        "requestContext": {"path": path, "stage": "$default", "domainName": "api.test"},
        **sent,
    }


@contextmanager
def on_lambda(shape: str, client: Client, **where: Any) -> Iterator[str]:
    handler = aws_lambda.serve(client, **where)

    def gateway(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        event = json.loads(json.dumps(event_of(environ, shape)))
        answer = json.loads(json.dumps(handler(event, object())))
        start_response(f"{answer['statusCode']} -", list(answer["headers"].items()))
        return [answer["body"].encode()]

    with on_wsgi(gateway) as origin:
        yield origin


@contextmanager
def on_plain(serve: Any, server: Any, client: Client, **where: Any) -> Iterator[str]:
    with server(serve(None, client, **where)) as origin:
        yield origin


SERVERS: dict[str, Served] = {
    "aiohttp": on_aiohttp,
    "asgi": partial(on_plain, asgi.serve, on_asgi),
    "aws-lambda 1.0": partial(on_lambda, "1.0"),
    "aws-lambda 2.0": partial(on_lambda, "2.0"),
    "django on asgi": partial(on_django, on_asgi, ASGIHandler),
    "django on wsgi": partial(on_django, on_wsgi, WSGIHandler),
    "fastapi": lambda client, **where: with_app(FastAPI(), fastapi, client, **where),
    "flask": on_flask,
    "litestar": on_litestar,
    "starlette": lambda client, **where: with_app(Starlette(), starlette, client, **where),
    "tornado": on_tornado,
    "wsgi": partial(on_plain, wsgi.serve, on_wsgi),
}
