"""A function of the official Python SDK that asks models, served by Flask; the provider's URL comes with the event."""

import flask
import inngest
import inngest.flask
from inngest.experimental.ai import anthropic, gemini, openai
from werkzeug.serving import make_server

client = inngest.Inngest(app_id="ai", is_production=False)
ADAPTERS = {"openai": openai, "anthropic": anthropic, "gemini": gemini}


@client.create_function(fn_id="infer", trigger=inngest.TriggerEvent(event="ai/infer"), retries=1)
async def infer(ctx: inngest.Context) -> object:
    kind, url = str(ctx.event.data["kind"]), str(ctx.event.data["url"])
    adapter = ADAPTERS[kind].Adapter(auth_key="sk-npm", model="sample", base_url=url)  # type: ignore[attr-defined]
    body = {"messages": [{"role": "user", "content": "Hello you"}]}
    if kind == "anthropic":
        body |= {"max_tokens": 9}  # type: ignore[dict-item]
    try:
        found = await ctx.step.ai.infer("ask", adapter=adapter, body=body)
    except inngest.StepError as error:
        return {"name": error.name, "message": error.message}

    async def after() -> str:
        return "went on"

    return {"found": found, "next": await ctx.step.run("after", after)}


app = flask.Flask("ai")
inngest.flask.serve(app, client, [infer])

if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201 - the test reads it
    server.serve_forever()
