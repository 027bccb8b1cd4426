"""Stepwell: durable execution, with durable HTTP in front. Functions whose steps and requests survive anything."""

from stepwell.errors import (
    ConfigError,
    FetchError,
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
from stepwell.sdk.client import Client
from stepwell.sdk.context import Context, ContextSync
from stepwell.sdk.events import Event
from stepwell.sdk.fetch import fetch
from stepwell.sdk.fetching import Retry
from stepwell.sdk.functions import Concurrency, Function, TriggerEvent
from stepwell.sdk.group import Group, GroupSync
from stepwell.sdk.steps import Step, StepSync

__all__ = [
    "Client",
    "Concurrency",
    "ConfigError",
    "Context",
    "ContextSync",
    "Event",
    "FetchError",
    "Function",
    "Group",
    "GroupSync",
    "NonRetriableError",
    "Retry",
    "RetryAfterError",
    "RunAbandoned",
    "SendEventsError",
    "Step",
    "StepError",
    "StepSync",
    "StepUsageError",
    "StepwellError",
    "Suspend",
    "SuspensionSwallowed",
    "TriggerEvent",
    "ValueNotSerializable",
    "fetch",
]
