"""Parallel groups of the official Python SDK in both modes, served by Flask."""

import datetime

import flask
import inngest
import inngest.flask
from werkzeug.serving import make_server

client = inngest.Inngest(app_id="groups", is_production=False)
ran: list[str] = []


def group(mode: inngest.ParallelMode):
    def handler(ctx: inngest.ContextSync) -> object:
        def strand(name: str, *naps: float):
            def play() -> str:
                for number, seconds in enumerate(naps):
                    ctx.step.sleep(f"{name} {number}", datetime.timedelta(seconds=seconds))
                return ctx.step.run(name, lambda: ran.append(f"{mode.value} {name}") or name)

            return play

        return ctx.group.parallel((strand("slow", 3), strand("quick", 1)), parallel_mode=mode)

    return client.create_function(fn_id=mode.value, trigger=inngest.TriggerEvent(event=f"groups/{mode.value}"))(handler)


app = flask.Flask("groups")
inngest.flask.serve(app, client, [group(mode) for mode in inngest.ParallelMode])


@app.get("/ran")
def what_ran() -> object:
    return {"ran": ran}


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201 - the test reads it
    server.serve_forever()
