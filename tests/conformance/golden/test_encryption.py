"""Our encryption and the official packages, from PyPI and from npm, read what the other one wrote."""

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.encryption import STRATEGY, Cipher, DecryptionError, EncryptionMiddleware, is_encrypted
from tests.conformance.golden.functions import VALUES
from tests.conformance.golden.libs import OFFICIAL, OURS, Lib, body, call_url, connect

KEY = "a key that both share"
HEX = b"0123456789abcdef" * 4
ENCRYPT = Path(__file__).with_name("encrypt.mjs")


def official(key: Any = KEY, **options: Any) -> Any:
    from inngest_encryption import EncryptionMiddleware as Official

    return Official.factory(key, **options)


MAKERS: dict[str, Any] = {
    "official": official,
    "ours": lambda key=KEY, **options: EncryptionMiddleware.factory(key, **options),
}
PAIRS = [(OFFICIAL, OURS), (OURS, OFFICIAL)]


def declare(lib: Lib, client: Any) -> list[Any]:
    trigger = lib.module.TriggerEvent(event="go")

    @client.create_function(fn_id="value", trigger=trigger)
    async def value(ctx: Any) -> Any:
        return await ctx.step.run("one", lambda: ctx.event.data["encrypted"])

    @client.create_function(fn_id="invokes", trigger=trigger)
    async def invokes(ctx: Any) -> Any:
        return await ctx.step.invoke_by_id(
            "call", app_id="x", function_id="y", data={"encrypted": {"s": 1}, "plain": 2}
        )

    return [value, invokes]


async def ask(lib: Lib, function: str, steps: Any = None, data: Any = None, key: Any = KEY, **options: Any) -> Any:
    """The answer of a function whose client encrypts."""
    event = {"id": "e", "name": "go", "data": data or {"encrypted": "clear"}, "user": {}, "ts": 1}
    made = lib.app(declare, middleware=[MAKERS[lib.name](key, **options)], logger=logging.getLogger("golden"))
    async with connect(made) as client:
        answer = await client.post(call_url(function), json=body(steps, event=event))
    assert answer.status_code in (200, 206), answer.text
    return answer.json()


@pytest.mark.parametrize(("writer", "reader"), PAIRS, ids=["ours reads", "the official one reads"])
@pytest.mark.parametrize("key", [KEY, HEX], ids=["text", "hex"])
@pytest.mark.parametrize("name", VALUES)
async def test_steps_functions_and_events_that_the_other_one_encrypted(
    writer: Lib, reader: Lib, key: Any, name: str
) -> None:
    (step,) = await ask(writer, "value", data={"encrypted": VALUES[name]}, key=key)
    assert set(step["data"]) == {"__ENCRYPTED__", "__STRATEGY__", "data"}
    read = await ask(reader, "value", {"one": {"data": step["data"]}}, key=key)
    assert set(read) == set(step["data"])
    (again,) = await ask(writer, "value", data={"encrypted": read}, key=key, decrypt_only=True)
    assert again["data"] == VALUES[name]


@pytest.mark.parametrize(("writer", "reader"), PAIRS, ids=["ours reads", "the official one reads"])
async def test_payloads_of_invoked_functions(writer: Lib, reader: Lib) -> None:
    (step,) = await ask(writer, "invokes")
    data = step["opts"]["payload"]["data"]
    assert (data["plain"], set(data["encrypted"])) == (2, {"__ENCRYPTED__", "__STRATEGY__", "data"})
    (read,) = await ask(reader, "value", data=data, decrypt_only=True)
    assert read["data"] == {"s": 1}


@pytest.mark.parametrize(("writer", "reader"), PAIRS, ids=["ours reads", "the official one reads"])
async def test_fallback_keys(writer: Lib, reader: Lib) -> None:
    (step,) = await ask(writer, "value")
    memo = {"one": {"data": step["data"]}}
    assert await ask(reader, "value", memo, key="new", fallback_decryption_keys=[KEY], decrypt_only=True) == "clear"


@pytest.mark.node
def test_what_the_npm_package_wrote_and_reads() -> None:
    ours = Cipher(KEY)
    asked = [{"key": KEY, "encrypt": value} for value in VALUES.values()]
    asked += [{"key": KEY, "decrypt": ours.encrypt(value)["data"]} for value in VALUES.values()]
    lines = "".join(json.dumps(each) + "\n" for each in asked)
    ran = subprocess.run(["node", ENCRYPT], input=lines, capture_output=True, text=True, timeout=50, check=False)
    assert ran.returncode == 0, ran.stderr
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {each["strategy"] for each in said} == {STRATEGY}
    written, read = said[: len(VALUES)], said[len(VALUES) :]
    assert [each["found"] for each in read] == list(VALUES.values())
    forms = [{"__ENCRYPTED__": True, "__STRATEGY__": STRATEGY, "data": each["found"]} for each in written]
    assert [ours.decrypt(form) for form in forms] == list(VALUES.values())


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_JSON)
def test_whatever_is_encrypted_comes_back(value: Any) -> None:
    cipher = Cipher(KEY)
    form = cipher.encrypt(value)
    assert is_encrypted(form)
    assert cipher.decrypt(form) == value
    assert cipher.encrypt(form) is form
    assert cipher.encrypt(value)["data"] != form["data"]


@given(st.binary(max_size=100))
def test_what_is_damaged_is_an_error(data: bytes) -> None:
    import base64

    form = {"__ENCRYPTED__": True, "__STRATEGY__": STRATEGY, "data": base64.b64encode(data).decode()}
    with pytest.raises(DecryptionError, match="none of the keys fits"):
        Cipher(KEY).decrypt(form)
