"""What the stand-in model answers. One rule: asked about the weather with a tool at hand, it calls the tool first."""

import itertools
import re
from dataclasses import dataclass
from typing import Any

CITIES = re.compile(r"(?:\bin|\band|\bor|,)\s+([A-Z][\w-]*)")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Tool:
    """A tool that the request offers; ``schema`` is the JSON schema of its arguments."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class Talk:
    """A request in terms that both APIs share. ``results``: of the tool calls made since the last ``prompt``."""

    prompt: str
    tools: tuple[Tool, ...] = ()
    results: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """The model wants a tool to be called."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """The model's answer: either ``text`` or ``calls``."""

    text: str = ""
    calls: tuple[Call, ...] = ()


def new_id(prefix: str) -> str:
    """An id that this process has not given before."""
    return f"{prefix}{next(_numbers):08d}"


def argument(tool: Tool) -> str:
    """The name of the argument that takes the city: the first required one, else the first."""
    names = [*tool.schema.get("required", ()), *tool.schema.get("properties", ()), "city"]
    return names[0]


def think(talk: Talk, *, id_prefix: str) -> Reply:
    """Answer: tool calls (one for each city that is asked about), the tools' results as text, or an echo."""
    if talk.results:
        return Reply(text="The weather: " + "; ".join(talk.results))
    if talk.tools and "weather" in talk.prompt.lower():
        tool = next((tool for tool in talk.tools if "weather" in tool.name.lower()), talk.tools[0])
        cities = CITIES.findall(talk.prompt) or ["Oslo"]
        return Reply(calls=tuple(Call(new_id(id_prefix), tool.name, {argument(tool): city}) for city in cities))
    return Reply(text=f"You said: {talk.prompt}")


def pieces(text: str) -> list[str]:
    """The text in the pieces in which it is streamed: words with the space before them."""
    return re.findall(r"\s*\S+", text) or [text]


def tokens(text: str) -> int:
    """About as many tokens as the text has words."""
    return max(1, len(text.split()))
