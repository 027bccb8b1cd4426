"""Every setting: its flag, its variables, its key in the file, and one line about it. Read by the loader, the commands
and the page about settings, so that none of them can say something else."""

from typing import Final

import msgspec

from stepwell.server.settings import readers
from stepwell.server.settings.readers import Reader


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """How the member ``name`` of :class:`Settings` is given. ``about``: one line for people, without the default.

    ``read`` makes the value of a text. ``names``: of its variables without the prefix, the first is also its key in the file in
    lower case; default: the member's own. ``flags``: none for what a list of processes or a history must not show. ``many``:
    the flag can be given again. ``secret``: never shown. ``default``: as people write it.
    """

    name: str
    about: str
    default: str
    read: Reader = readers.text
    names: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    """Variables of others that are read, after our own."""
    flags: tuple[str, ...] = ()
    metavar: str = "TEXT"
    many: bool = False
    secret: bool = False

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of its variables without the prefix."""
        return self.names or (self.name.upper(),)

    @property
    def variable(self) -> str:
        """The variable to tell people of."""
        return f"STEPWELL_{self.variables[0]}"

    @property
    def key(self) -> str:
        """Its key in the file."""
        return self.variables[0].lower()


_NONE = "none"

FIELDS: Final = {
    field.name: field
    for field in (
        Field(
            name="kind",
            about="`dev` trusts everybody, `cloud` asks for keys; `stepwell dev` and `stepwell serve` set it.",
            default="dev",
        ),
        Field(name="host", about="Address to listen at.", default="127.0.0.1", flags=("--host",), metavar="HOST"),
        Field(
            name="port",
            about="Port to listen at; 0 for any free one.",
            default="8288",
            read=readers.integer,
            flags=("--port",),
            metavar="PORT",
        ),
        Field(
            name="db",
            about="Where the state is kept: sqlite:///path, postgresql://user@host/name, or memory:",
            default="sqlite:///.stepwell/stepwell.db",
            flags=("--db",),
            metavar="URL",
        ),
        Field(
            name="db_listen",
            about="The way to PostgreSQL that does not lead through a proxy, where `db` leads through one.",
            default=_NONE,
        ),
        Field(
            name="app_urls",
            about="An app to call over HTTP.",
            default=_NONE,
            read=readers.words,
            flags=("-u", "--sync"),
            metavar="URL",
            many=True,
        ),
        Field(
            name="discovery",
            about="Look for apps on the usual ports of this machine when none is named.",
            default="true (dev only)",
            read=readers.flag,
            flags=("--discovery/--no-discovery",),
        ),
        Field(
            name="signing_key",
            about="Signs calls to apps, and lets apps and scripts use the API.",
            default=_NONE,
            secret=True,
        ),
        Field(
            name="signing_key_fallback",
            about="The other signing key that is taken while keys are being changed.",
            default=_NONE,
            secret=True,
        ),
        Field(
            name="event_keys",
            about="Keys under which events may be sent.",
            default=_NONE,
            read=readers.words,
            names=("EVENT_KEYS", "EVENT_KEY"),
            secret=True,
        ),
        Field(
            name="dashboard_password",
            about="Opens the dashboard of `stepwell serve`.",
            default="a signing key opens it",
            secret=True,
        ),
        Field(
            name="public_url",
            about="Where others reach the platform: upstreams that call back, the commands on the dashboard.",
            default="the address it listens at",
            flags=("--public-url",),
            metavar="URL",
        ),
        Field(
            name="call_timeout_s",
            about="How long an app may take to answer one call.",
            default="2h",
            read=readers.seconds,
            names=("CALL_TIMEOUT",),
            flags=("--call-timeout",),
            metavar="DURATION",
        ),
        Field(
            name="retry_interval_ms",
            about="A flat delay between attempts, such as 1s.",
            default="the usual back-off",
            read=readers.duration,
            names=("RETRY_INTERVAL",),
            flags=("--retry-interval",),
            metavar="DURATION",
        ),
        Field(
            name="drain_s",
            about="How long work in flight may go on after a stop was asked for.",
            default="30s",
            read=readers.seconds,
            names=("DRAIN_SECONDS",),
            flags=("--drain",),
            metavar="DURATION",
        ),
        Field(
            name="keep_ms",
            about="How long runs are kept after their end, and events: a day or more, or `forever`.",
            default="forever (`serve`: 30d)",
            read=readers.keep,
            names=("KEEP",),
            flags=("--keep",),
            metavar="DURATION",
        ),
        Field(
            name="allow",
            about="A host, network (CIDR) or port that functions may call although it is not public.",
            default=_NONE,
            read=readers.words,
            names=("FETCH_ALLOW",),
            flags=("--allow",),
            metavar="HOST",
            many=True,
        ),
        Field(
            name="max_body",
            about="The largest response body that is taken, where the request itself does not say.",
            default="64MiB",
            read=readers.size,
            flags=("--max-body",),
            metavar="SIZE",
        ),
        Field(
            name="body_memory",
            about="Memory for large response bodies that arrive, all together; further ones wait.",
            default="256MiB",
            read=readers.size,
            flags=("--body-memory",),
            metavar="SIZE",
        ),
        Field(name="hosts", about="Limits of the hosts that functions call.", default=_NONE, read=readers.hosts),
        Field(
            name="networks",
            about="Proxies, CA bundles and client certificates of the hosts that functions call.",
            default=_NONE,
            read=readers.networks,
            secret=True,
        ),
        Field(
            name="fetch_function",
            about="Host the function behind `stepwell fetch`.",
            default="true (`serve`: false)",
            read=readers.flag,
            flags=("--fetch-function/--no-fetch-function",),
        ),
        Field(
            name="encryption_keys",
            about="Keys that seal what is stored, the newest first.",
            default="one is made beside the database",
            read=readers.words,
            names=("ENCRYPTION_KEYS", "ENCRYPTION_KEY"),
            secret=True,
        ),
        Field(
            name="secrets_file",
            about="A TOML or JSON file that describes secrets.",
            default=_NONE,
            flags=("--secrets-file",),
            metavar="FILE",
        ),
        Field(
            name="secrets_provider",
            about="A source of secrets of your own: module:name of a class or function without arguments.",
            default=_NONE,
            flags=("--secrets-provider",),
            metavar="MODULE:NAME",
        ),
        Field(
            name="secrets_hosts",
            about="Which secrets may go to which hosts: NAME=host,host; NAME=host.",
            default=_NONE,
            flags=("--secrets-hosts",),
            metavar="RULES",
        ),
        Field(
            name="sensitive_headers",
            about="A further header whose values are credentials.",
            default=_NONE,
            read=readers.words,
            flags=("--sensitive-header",),
            metavar="NAME",
            many=True,
        ),
        Field(
            name="always_replay",
            about="Keep no suspended run in this process: slow, and finds what is not deterministic.",
            default="false",
            read=readers.flag,
            flags=("--always-replay/--no-always-replay",),
        ),
        Field(
            name="log_format",
            about="How the log is written: `text` for people, `json` with an object in each line.",
            default="text",
            read=readers.log_format,
            flags=("--log-format",),
            metavar="FORMAT",
        ),
        Field(
            name="otlp_endpoint",
            about="An OpenTelemetry collector: traces and metrics by OTLP over HTTP; OTEL_EXPORTER_OTLP_ENDPOINT is read too.",
            default=_NONE,
            read=readers.http_url,
            also=("OTEL_EXPORTER_OTLP_ENDPOINT",),
            flags=("--otlp-endpoint",),
            metavar="URL",
        ),
    )
}
"""By the name of the member, in the order of a user's first hour."""
