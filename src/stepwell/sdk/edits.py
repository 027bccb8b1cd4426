"""A step whose input was edited before it is run again: ``{"input": [...]}`` in place of its memo (protocol 2)."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from stepwell.errors import NonRetriableError
from stepwell.sdk import values
from stepwell.wire.jsons import as_object

if TYPE_CHECKING:
    from stepwell.sdk.machine import StepCall
    from stepwell.wire.calls import CallRequest


def apply(call: StepCall, request: CallRequest) -> StepCall:
    """The call, with the input that the request has for it, if it has some."""
    if call.edit is not None and (args := request.inputs.get(call.hashed)) is not None:
        call.edit(call, msgspec.json.decode(args, type=list[msgspec.Raw]))
    return call


def arguments(handler: Callable[..., object], call: StepCall, inputs: list[msgspec.Raw]) -> None:
    """Have the step call its handler with these arguments, in the types that its parameters declare.

    What does not fit them is the step's error.
    """
    kinds = _parameters(handler)
    kinds += [None] * (len(inputs) - len(kinds))
    try:
        given = [values.decode(raw, kind) for raw, kind in zip(inputs, kinds, strict=False)]
    except NonRetriableError as problem:
        call.body = functools.partial(_refuse, problem)
    else:
        call.body = functools.partial(handler, *given)


def body(call: StepCall, inputs: list[msgspec.Raw]) -> None:
    """Have the request to a model carry the members of the first input over those of its own body."""
    options: dict[str, Any] = msgspec.json.decode(call.opts)
    edited = as_object(msgspec.json.decode(inputs[0])) if inputs else None
    if edited is not None:
        options["body"] = {**options["body"], **edited}
        call.opts = msgspec.json.encode(options)


def _refuse(problem: NonRetriableError) -> None:
    raise problem


def _parameters(handler: Callable[..., object]) -> list[Any]:
    try:
        hints = typing.get_type_hints(handler)
        return [values.concrete(hints.get(name)) for name in inspect.signature(handler).parameters]
    except (NameError, TypeError, AttributeError, ValueError):
        return []
