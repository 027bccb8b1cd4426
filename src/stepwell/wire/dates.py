"""Dates as HTTP and JSON write them, and read to milliseconds since the epoch. No clock: a date is a date."""

import re
from datetime import UTC, datetime

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: i for i, name in enumerate(_MONTH_NAMES, 1)}
_TIME = r"(?P<h>\d{2}):(?P<m>\d{2}):(?P<s>\d{2})"
_FORMS = (
    re.compile(rf"\w{{3}}, (?P<d>\d{{1,2}}) (?P<mon>\w{{3}}) (?P<y>\d{{4}}) {_TIME} (?:GMT|UTC)", re.IGNORECASE),
    re.compile(rf"\w{{6,9}}, (?P<d>\d{{2}})-(?P<mon>\w{{3}})-(?P<y>\d{{2}}) {_TIME} (?:GMT|UTC)", re.IGNORECASE),
    re.compile(rf"\w{{3}} (?P<mon>\w{{3}}) +(?P<d>\d{{1,2}}) {_TIME} (?P<y>\d{{4}})", re.IGNORECASE),
)
_RFC3339 = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")


def http_date_ms(text: str, now_ms: int) -> int | None:
    """An HTTP date in any of the three forms of RFC 9110, 5.6.7; None when it is not one.

    ``now_ms`` settles the century of a two-digit year: never more than 50 years ahead.
    """
    for form in _FORMS:
        if match := form.fullmatch(text.strip()):
            return _moment(match.groupdict(), now_ms)
    return None


def rfc3339(moment: datetime) -> str:
    """A moment with a zone as RFC 3339 writes it: in UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_ms(text: str) -> int | None:
    """An RFC 3339 instant with its zone; None when it is not one."""
    match = _RFC3339.fullmatch(text.strip())
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError:
        return None
    return _millis(moment) + int(float(fraction or "0") * 1000)


def _moment(parts: dict[str, str], now_ms: int) -> int | None:
    month = _MONTHS.get(parts["mon"].lower())
    if month is None:
        return None
    year = int(parts["y"])
    if len(parts["y"]) == 2:
        year = _century(year, now_ms)
    try:
        moment = datetime(
            year, month, int(parts["d"]), int(parts["h"]), int(parts["m"]), min(59, int(parts["s"])), tzinfo=UTC
        )
    except ValueError:
        return None
    return _millis(moment)


def _century(year: int, now_ms: int) -> int:
    this_year = 1970 + now_ms // 31_556_952_000
    full = this_year - this_year % 100 + year
    return full - 100 if full > this_year + 50 else full


def _millis(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1000
