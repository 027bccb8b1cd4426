"""A stand-in AI provider: enough of the OpenAI and Anthropic APIs for their real SDKs, with answers that never vary."""

from aiohttp import web

from examples.sample_api.ai import anthropic_messages, openai_chat, openai_other, openai_responses


def routes() -> list[web.RouteDef]:
    """Everything under ``/v1``."""
    return [
        web.post("/v1/messages", anthropic_messages.messages),
        web.post("/v1/chat/completions", openai_chat.completions),
        web.post("/v1/responses", openai_responses.responses),
        web.post("/v1/embeddings", openai_other.embeddings),
        web.post("/v1/files", openai_other.upload),
        web.get("/v1/models", openai_other.models),
    ]
