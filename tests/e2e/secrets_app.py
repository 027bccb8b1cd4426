"""Functions that handle credentials; run by `stepwell dev` in a process of its own."""

import os

import openai

import stepwell
from stepwell.transports.openai import durable_openai

UPSTREAM = os.environ["UPSTREAM"]
client = stepwell.Client("credentials")
KEY = stepwell.secret("API_KEY")


def _event(name: str) -> stepwell.TriggerEvent:
    return stepwell.TriggerEvent(event=name)


@client.create_function(fn_id="reference", trigger=_event("reference"), retries=2)
async def reference(ctx: stepwell.Context) -> object:
    headers = {"Authorization": f"Bearer {KEY}", "X-Other": KEY}
    echoed = await ctx.step.fetch(f"{UPSTREAM}/echo", params={"key": str(KEY)}, headers=headers)
    flaky = await ctx.step.fetch(f"{UPSTREAM}/flaky/reference", auth=("me", str(KEY)))
    refused = await ctx.step.fetch(f"{UPSTREAM}/refused", headers=headers)
    try:
        await ctx.step.fetch(UPSTREAM.replace("127.0.0.1", "localhost"), headers=headers)
    except stepwell.FetchError as error:
        return [echoed.json(), flaky.status_code, refused.status_code, error.kind, str(error)]
    return "the secret went to a host that it is not bound to"


@client.create_function(fn_id="literal", trigger=_event("literal"), retries=2)
async def literal(ctx: stepwell.Context) -> object:
    gpt = durable_openai(openai.AsyncOpenAI(api_key=os.environ["LITERAL_OPENAI"], base_url=f"{UPSTREAM}/v1"))
    talk = [{"role": "user", "content": "Hello"}]
    answer = await gpt.chat.completions.create(model="sample", messages=talk)
    for key in (os.environ["LITERAL_OPENAI"], KEY):
        for kind in (stepwell.ai.OpenAI, stepwell.ai.Anthropic, stepwell.ai.Gemini):
            adapter = kind(model="sample", auth_key=key, base_url=f"{UPSTREAM}/flaky/{kind.__name__}")
            await ctx.step.ai.infer("ask", adapter=adapter, body={"messages": talk})
    try:
        await gpt.chat.completions.create(model="refused", messages=talk)
    except openai.AuthenticationError as error:
        return [answer.choices[0].message.content, error.status_code]
    return "no error"


@client.create_function(fn_id="broken", trigger=_event("broken"), retries=0)
async def broken(ctx: stepwell.Context) -> object:
    response = await ctx.step.fetch(f"{UPSTREAM}/refused", headers={"x-api-key": os.environ["LITERAL_OPENAI"]})
    response.raise_for_status()
    return None
