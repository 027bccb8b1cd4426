"""Stepwell: durable execution, with durable HTTP in front. Functions whose steps and requests survive anything."""

from importlib import import_module
from typing import TYPE_CHECKING

from stepwell.errors import (
    ConfigError,
    EventDataError,
    FetchError,
    MiddlewareError,
    NonRetriableError,
    RetryAfterError,
    RunAbandoned,
    SendEventsError,
    StepError,
    StepUsageError,
    StepwellError,
    Suspend,
    SuspensionSwallowed,
    ValueNotSerializable,
)
from stepwell.sdk import ai
from stepwell.sdk.admissions import Batch, Debounce, RateLimit, Singleton
from stepwell.sdk.client import Client
from stepwell.sdk.context import Context, ContextSync
from stepwell.sdk.events import Event, EventType
from stepwell.sdk.fetch import fetch
from stepwell.sdk.fetching import Retry
from stepwell.sdk.flow import Concurrency, Priority, Throttle, Timeouts
from stepwell.sdk.functions import Cancel, Function
from stepwell.sdk.group import Group, GroupSync, ParallelMode
from stepwell.sdk.middleware import (
    NO_OUTPUT,
    Middleware,
    MiddlewareSync,
    SendEventsResult,
    StepMemo,
    StepMemos,
    TransformOutputResult,
    TransformOutputStepInfo,
)
from stepwell.sdk.secrets import secret
from stepwell.sdk.signals import Signal
from stepwell.sdk.steps import Step
from stepwell.sdk.steps_sync import StepSync
from stepwell.sdk.triggers import TriggerCron, TriggerEvent
from stepwell.wire.constants import CALLBACK_URL

if TYPE_CHECKING:
    from stepwell.embed import embedded as embedded

__all__ = [
    "CALLBACK_URL",
    "NO_OUTPUT",
    "Batch",
    "Cancel",
    "Client",
    "Concurrency",
    "ConfigError",
    "Context",
    "ContextSync",
    "Debounce",
    "Event",
    "EventDataError",
    "EventType",
    "FetchError",
    "Function",
    "Group",
    "GroupSync",
    "Middleware",
    "MiddlewareError",
    "MiddlewareSync",
    "NonRetriableError",
    "ParallelMode",
    "Priority",
    "RateLimit",
    "Retry",
    "RetryAfterError",
    "RunAbandoned",
    "SendEventsError",
    "SendEventsResult",
    "Signal",
    "Singleton",
    "Step",
    "StepError",
    "StepMemo",
    "StepMemos",
    "StepSync",
    "StepUsageError",
    "StepwellError",
    "Suspend",
    "SuspensionSwallowed",
    "Throttle",
    "Timeouts",
    "TransformOutputResult",
    "TransformOutputStepInfo",
    "TriggerCron",
    "TriggerEvent",
    "ValueNotSerializable",
    "ai",
    "fetch",
    "secret",
]


def __getattr__(name: str) -> object:
    """``stepwell.embedded`` brings the whole platform with it: it is loaded when asked for, never by ``import *``."""
    if name == "embedded":
        try:
            return import_module("stepwell.embed").embedded
        except ModuleNotFoundError as missing:
            raise ImportError(
                f"stepwell.embedded needs the platform, and {missing.name!r} is not installed: pip install 'stepwell[server]'"
            ) from missing
    raise AttributeError(f"module 'stepwell' has no attribute {name!r}")
