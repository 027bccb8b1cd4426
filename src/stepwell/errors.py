"""Every public exception of Stepwell. A class's docstring is its default message.

::

    StepwellError
    ├── NonRetriableError
    │   ├── EventDataError
    │   ├── ValueNotSerializable
    │   └── StepUsageError
    │       └── SuspensionSwallowed
    ├── RetryAfterError
    ├── StepError
    │   └── FetchError
    ├── SendEventsError
    ├── MiddlewareError
    └── ConfigError

    RunAbandoned (BaseException)
    Suspend (BaseException)
"""

from datetime import datetime, timedelta

from stepwell.wire.durations import to_ms


class StepwellError(Exception):
    """Something went wrong in Stepwell."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message or " ".join((type(self).__doc__ or "").split())
        super().__init__(self.message)


class NonRetriableError(StepwellError):
    """This failed in a way that trying again can not cure. Raise it in a step or a function to end its attempts."""

    def __init__(self, message: str | None = None, quiet: bool = False) -> None:
        super().__init__(message)
        self.quiet = quiet


class ValueNotSerializable(NonRetriableError):
    """A value can not be written as JSON: return plain data, dataclasses, pydantic or msgspec models, or datetimes."""


class EventDataError(NonRetriableError):
    """An event's data does not fit the type that the function or the wait declares for it."""


class StepUsageError(NonRetriableError):
    """A step was called where steps can not be called: inside another step, or outside of the run it belongs to."""


class SuspensionSwallowed(StepUsageError):
    """The function caught the suspension of a step: catch Exception instead of BaseException, or raise it again."""


class RetryAfterError(StepwellError):
    """This failed, and shall be tried again after a given time.

    Args:
        message: what went wrong.
        retry_after: when: a text such as ``"10m"``, a ``timedelta``, a ``datetime`` with its zone, or whole milliseconds.
        quiet: taken for compatibility.
    """

    def __init__(
        self, message: str | None = None, retry_after: int | timedelta | datetime | str = 0, quiet: bool = False
    ) -> None:
        super().__init__(message)
        self.quiet = quiet
        if isinstance(retry_after, str):
            retry_after = timedelta(milliseconds=to_ms(retry_after))
        if isinstance(retry_after, bool) or not isinstance(retry_after, int | timedelta | datetime):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("say the unit of retry_after: a timedelta, a datetime, or whole milliseconds")
        if isinstance(retry_after, datetime) and retry_after.tzinfo is None:
            raise ValueError("retry_after has no zone: say which with tzinfo=, such as datetime.now(UTC)")
        self.retry_after: int | timedelta | datetime = retry_after


class StepError(StepwellError):
    """A step has failed for good. Raised where the step is awaited; ``name`` is the original error's type.

    Args:
        message: the original error's message.
        name: the original error's type name.
        stack: the original traceback as text, when it is known.
        cause: the error that the original one was raised from; it is the ``__cause__`` as well.
        data: what else the error tells, such as the body of a provider's answer.
    """

    def __init__(
        self,
        message: str | None = None,
        name: str = "Error",
        stack: str | None = None,
        cause: "StepError | None" = None,
        data: object = None,
    ) -> None:
        super().__init__(message)
        self.name = name
        self.stack = stack
        self.cause = cause
        self.data = data
        if cause is not None:
            self.__cause__ = cause


class FetchError(StepError):
    """A durable request got no response.

    ``kind``: dns, connect, tls, write, read, timeout, protocol, too_large, guard, redirect, invalid, aborted, unknown.
    ``attempts``: how many were made. ``sent``: False where nothing of the last one has left the platform.
    """

    def __init__(
        self, message: str | None = None, kind: str = "unknown", attempts: int = 1, *, sent: bool = True
    ) -> None:
        super().__init__(message, name="FetchError")
        self.kind = kind
        self.attempts = attempts
        self.sent = sent


class SendEventsError(StepwellError):
    """The events could not be handed to the platform. ``ids`` are those that it did accept."""

    def __init__(self, message: str | None = None, ids: list[str] | None = None) -> None:
        super().__init__(message)
        self.ids = ids or []


class MiddlewareError(StepwellError):
    """A hook of a middleware raised. The call fails, and is tried again as the function's own errors are."""


class ConfigError(StepwellError):
    """Stepwell is configured in a way that can not work."""


class RunAbandoned(BaseException):
    """This execution of the run has been given up (evicted, shut down or cancelled); the run itself may go on elsewhere.

    Raised by step calls in clean-up code (``finally``, ``except``) while an execution is taken down. Let it pass. It is
    no ``Exception``, so that ``except Exception`` does not catch it. Effects belong into steps, not into ``finally``.
    """

    def __init__(self) -> None:
        super().__init__(" ".join((RunAbandoned.__doc__ or "").split()))


class Suspend(BaseException):
    """The function stops here until the step has its result; it will be run again from the start then.

    Raised by step calls in functions written with ``def``. Let it pass: code that catches it (``except BaseException``,
    ``return`` in ``finally``) must raise it again.
    """

    def __init__(self, step: str = "") -> None:
        super().__init__(f"step {step!r} has no result yet: " + " ".join((Suspend.__doc__ or "").split()))
