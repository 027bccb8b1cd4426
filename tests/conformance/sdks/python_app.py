"""Functions of the official Python SDK, served by Flask. The port is the first argument; the platform comes by INNGEST_DEV."""

import datetime
import os
import sys
import threading

import flask
import inngest
import inngest.flask

client = inngest.Inngest(app_id="py", is_production="INNGEST_DEV" not in os.environ)
ran: list[str] = []
"""Names of what user code ran, in order."""
flying = {"now": 0, "most": 0}
lock = threading.Lock()
released = threading.Event()


def note(name: str) -> str:
    ran.append(name)
    return name


def function(name: str, retries: int = 2, **options: object):
    return client.create_function(
        fn_id=name,
        trigger=inngest.TriggerEvent(event=f"py/{name}"),
        retries=retries,
        **options,  # type: ignore[arg-type]
    )


@function("sequence")
def sequence(ctx: inngest.ContextSync) -> object:
    first = ctx.step.run("first", lambda: note("first"))
    second = ctx.step.run("second", lambda: note("second"))
    same = ctx.step.run("second", lambda: note("again"))
    return [first, second, same]


@function("parallel")
def parallel(ctx: inngest.ContextSync) -> object:
    def branch(name: str):
        return lambda: ctx.step.run(name, lambda: note(name))

    group = ctx.group.parallel(tuple(branch(name) for name in ("a", "b", "c")))
    return [*group, ctx.step.run("after", lambda: note("after"))]


@function("flaky")
def flaky(ctx: inngest.ContextSync) -> object:
    def body() -> int:
        note("try")
        if ran.count("try") < 3:
            raise ValueError("not yet")
        return 7

    return ctx.step.run("flaky", body)


@function("caught", retries=1)
def caught(ctx: inngest.ContextSync) -> object:
    def body() -> None:
        note("bad")
        raise ValueError("for good")

    try:
        ctx.step.run("bad", body)
    except inngest.StepError as problem:
        return [problem.name, problem.message, ctx.step.run("after", lambda: note("after caught"))]
    return "not raised"


@function("retried")
def retried(ctx: inngest.ContextSync) -> object:
    done = ctx.step.run("once", lambda: note("once"))
    if ctx.attempt == 0:
        note("function failed")
        raise RuntimeError("the function itself")
    return [done, ctx.attempt]


@function("sleeps")
def sleeps(ctx: inngest.ContextSync) -> object:
    ctx.step.sleep("nap", datetime.timedelta(seconds=1))
    return ctx.step.run("awake", lambda: note("awake"))


@function("final")
def final(ctx: inngest.ContextSync) -> object:
    def body() -> None:
        note("final")
        raise inngest.NonRetriableError("never again")

    return ctx.step.run("final", body)


@function("later")
def later(ctx: inngest.ContextSync) -> object:
    if ctx.attempt == 0:
        note("later")
        raise inngest.RetryAfterError("busy", datetime.timedelta(seconds=2))
    return ctx.attempt


@function("limited", concurrency=[inngest.Concurrency(limit=2)])
def limited(ctx: inngest.ContextSync) -> object:
    def body() -> int:
        with lock:
            flying["now"] += 1
            flying["most"] = max(flying["most"], flying["now"])
            if flying["now"] == 2:
                released.set()
        released.wait(10)
        with lock:
            flying["now"] -= 1
        return flying["most"]

    return ctx.step.run("work", body)


@function("large")
def large(ctx: inngest.ContextSync) -> object:
    parts = [ctx.step.run(f"part {n}", lambda: "x" * 2_000_000) for n in range(4)]
    return [len(part) for part in parts]


@function("wide")
def wide(ctx: inngest.ContextSync) -> object:
    part = ctx.step.run("part", lambda: "x" * 2_000_000)
    ctx.step.sleep("nap", datetime.timedelta(seconds=1))
    return [len(part), len(str(ctx.event.data["x"])), len(ctx.events)]


FUNCTIONS = [sequence, parallel, flaky, caught, retried, sleeps, final, later, limited, large, wide]
app = flask.Flask("py")
inngest.flask.serve(app, client, FUNCTIONS)


@app.get("/ran")
def what_ran() -> object:
    return {"ran": ran, "most": flying["most"]}


if __name__ == "__main__":
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201 - the test reads it
    server.serve_forever()
    sys.exit(0)
