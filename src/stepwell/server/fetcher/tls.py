"""TLS contexts of requests, and the moment at which a connection turns from TCP to TLS.

No client library says when the handshake begins; but every event loop asks the context for its TLS layer (``wrap_bio``)
just then, in the task that connects. So the context tells whoever listens in that task.
"""

import ssl
import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

HANDSHAKE: ContextVar[Callable[[], None] | None] = ContextVar("stepwell_handshake", default=None)
"""Called when a handshake begins in this context."""


class WatchedContext(ssl.SSLContext):
    """A context that tells when a handshake begins."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """See :meth:`ssl.SSLContext.wrap_bio`."""
        begun = HANDSHAKE.get()
        if begun is not None:
            begun()
        return super().wrap_bio(*args, **kwargs)


def client_context(ca: str | None = None, cert: str | None = None, key: str | None = None) -> WatchedContext:
    """A context that verifies the server, as :func:`ssl.create_default_context` has it.

    ``ca``: a PEM file or a folder to trust, instead of the system's. ``cert``, ``key``: PEM files of a client certificate; the
    key may be in the same file. Raises ``OSError`` (``ssl.SSLError`` is one) for files that can not be used.
    """
    context = WatchedContext(ssl.PROTOCOL_TLS_CLIENT)
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    if ca is None:
        context.load_default_certs()
    elif Path(ca).is_dir():
        context.load_verify_locations(capath=ca)
    else:
        context.load_verify_locations(cafile=ca)
    if cert is not None:
        context.load_cert_chain(cert, key, password=_no_password)
    return context


@cache
def usual_context() -> WatchedContext:
    """The one that trusts whom the system trusts; made once, for that takes a while."""
    return client_context()


def _no_password() -> str:
    """OpenSSL must not ask the terminal for one."""
    raise ssl.SSLError("the private key is encrypted: give one that is not")
