"""Middleware that encrypts what your code returns and sends, so that the platform and its database see only ciphertext.

``pip install 'stepwell[encryption]'``, then ``Client("shop", middleware=[EncryptionMiddleware.factory(key)])``. Encrypted are
the results of steps, what functions return, and the member ``encrypted`` of the data of events and invocations. Not encrypted
are names, ids, errors, and what the platform does itself: durable requests and their responses.

The form on the wire is that of the packages ``inngest-encryption`` (Python) and ``@inngest/middleware-encryption``
(JavaScript), so that apps that share a key read each other's data::

    {"__ENCRYPTED__": true, "__STRATEGY__": "inngest/libsodium", "data": base64(nonce + secretbox(JSON))}
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from stepwell.errors import ConfigError, StepwellError
from stepwell.sdk import values
from stepwell.sdk.middleware import MakeMiddleware, MiddlewareSync, StepMemos, TransformOutputResult
from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    from nacl.secret import SecretBox

    from stepwell.sdk.client import Client
    from stepwell.sdk.context import Context, ContextSync
    from stepwell.sdk.events import Event
    from stepwell.sdk.functions import Function

STRATEGY = "inngest/libsodium"
FIELD = "encrypted"
_MARKER, _STRATEGY = "__ENCRYPTED__", "__STRATEGY__"
_SYSTEM = "inngest/function."

Key = str | bytes
"""A text of any length, which is hashed to a key (BLAKE2b, 32 bytes); or bytes: 64 hex digits, which are the key."""


class DecryptionError(StepwellError):
    """Encrypted data can not be read: none of the keys fits, or the data are damaged."""


class Cipher:
    """Encrypts with the first key, and decrypts with any. Raises ``ConfigError`` for what is no key."""

    def __init__(self, key: Key, *others: Key) -> None:
        self._boxes = [_box(each) for each in (key, *others)]

    def encrypt(self, value: object, what: str = "the value has") -> dict[str, Any]:
        """The encrypted form of a value; one that is encrypted stays. Raises ``ValueNotSerializable``."""
        if is_encrypted(value):
            return cast("dict[str, Any]", value)
        sealed = bytes(self._boxes[0].encrypt(values.encode(value, what)))
        return {_MARKER: True, _STRATEGY: STRATEGY, "data": base64.b64encode(sealed).decode()}

    def decrypt(self, value: Any) -> Any:
        """The value of an encrypted form; anything else stays. Raises ``DecryptionError``."""
        if not is_encrypted(value):
            return value
        from nacl.exceptions import CryptoError

        try:
            sealed = base64.b64decode(value["data"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise DecryptionError from None
        for box in self._boxes:
            try:
                return msgspec.json.decode(box.decrypt(sealed))
            except (CryptoError, ValueError):
                continue
        raise DecryptionError


class EncryptionMiddleware(MiddlewareSync):
    """See the module. Made by :meth:`factory`."""

    def __init__(
        self,
        client: Client,
        raw_request: object,
        secret_key: Key,
        *,
        decrypt_only: bool = False,
        event_encryption_field: str = FIELD,
        fallback_decryption_keys: Sequence[Key] = (),
        cipher: Cipher | None = None,
    ) -> None:
        super().__init__(client, raw_request)
        self._cipher = cipher or Cipher(secret_key, *fallback_decryption_keys)
        self._encrypts = not decrypt_only
        self._field = event_encryption_field

    @classmethod
    def factory(
        cls,
        secret_key: Key,
        *,
        decrypt_only: bool = False,
        event_encryption_field: str = FIELD,
        fallback_decryption_keys: Sequence[Key] = (),
    ) -> MakeMiddleware:
        """What goes into a list of middleware.

        ``decrypt_only`` (False): nothing is encrypted; for the time before all apps have the key, and after the end.
        ``event_encryption_field`` (``encrypted``): which member of events' data is encrypted. ``fallback_decryption_keys``
        (none): keys that data may be encrypted with as well, while keys change. Raises ``ConfigError``.
        """
        cipher = Cipher(secret_key, *fallback_decryption_keys)

        def make(client: Client, raw_request: object) -> EncryptionMiddleware:
            return cls(
                client,
                raw_request,
                secret_key,
                decrypt_only=decrypt_only,
                event_encryption_field=event_encryption_field,
                cipher=cipher,
            )

        return make

    def transform_input(self, ctx: Context[Any] | ContextSync[Any], function: Function, steps: StepMemos) -> None:
        """Decrypt events and memos."""
        for event in {id(event): event for event in (ctx.event, *ctx.events)}.values():
            event.data = self._event_data(event.name, event.data)
        for memo in steps.values():
            memo.data = self._memo(self._cipher.decrypt(memo.data))

    def transform_output(self, result: TransformOutputResult) -> None:
        """Encrypt what a step or the function returned, and what an invoked function gets."""
        if not self._encrypts or result.error is not None:
            return
        step = result.step
        if step is None or step.op is Opcode.STEP_RUN:
            name = "the function" if step is None else f"step {step.id!r}"
            result.output = self._cipher.encrypt(result.output, f"{name} returned")
        elif step.op is Opcode.INVOKE and step.opts is not None:
            payload = step.opts["payload"]
            payload["data"] = self._hide(payload.get("data"))

    def before_send_events(self, events: list[Event[Any]]) -> None:
        """Encrypt the events' field."""
        if self._encrypts:
            for event in events:
                event.data = self._hide(event.data)

    def _hide(self, data: Any) -> Any:
        if not isinstance(data, Mapping) or self._field not in data:
            return cast(Any, data)
        members = cast("Mapping[str, Any]", data)
        return {**members, self._field: self._cipher.encrypt(members[self._field], "the event has")}

    def _event_data(self, name: str, data: Any) -> Any:
        """The data with their field in clear; those of the platform's own events hold events and a result."""
        members: Any = self._cipher.decrypt(data)
        if not isinstance(members, dict):
            return members
        found = cast("dict[str, Any]", members)
        if self._field in found:
            found = {**found, self._field: self._cipher.decrypt(found[self._field])}
        if name.startswith(_SYSTEM):
            if "result" in found:
                found["result"] = self._cipher.decrypt(found["result"])
            if "event" in found:
                found["event"] = self._memo(found["event"])
            if isinstance(found.get("events"), list):
                found["events"] = [self._memo(each) for each in found["events"]]
        return found

    def _memo(self, value: Any) -> Any:
        """An event in clear, such as a step waited for; anything else stays."""
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            if isinstance(members.get("name"), str) and isinstance(members.get("data"), dict):
                return {**members, "data": self._event_data(members["name"], members["data"])}
        return cast(Any, value)


def is_encrypted(value: Any) -> bool:
    """Whether it is the encrypted form of a value."""
    members = cast("dict[str, Any]", value if isinstance(value, dict) else {})
    return members.get(_MARKER) is True and members.get(_STRATEGY) == STRATEGY


def _box(key: Key) -> SecretBox:
    try:
        from nacl.secret import SecretBox
    except ModuleNotFoundError:
        raise ConfigError("encryption needs PyNaCl: pip install 'stepwell[encryption]'") from None
    if not key:
        raise ConfigError("encryption needs a key: a long random text that your apps share")
    if isinstance(key, str):
        return SecretBox(hashlib.blake2b(key.encode(), digest_size=SecretBox.KEY_SIZE).digest())
    try:
        return SecretBox(binascii.unhexlify(key))
    except ValueError:
        raise ConfigError("an encryption key of bytes is 64 hex digits; a text may be anything") from None
