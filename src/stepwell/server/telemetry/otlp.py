"""What Prometheus' client has counted, as OpenTelemetry's SDK wants it for OTLP: the same figures under OTLP's names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from stepwell.server.telemetry.named import METRICS, OF_STORE, PROCESS

_OWN = {metric.name: metric for metric in METRICS}
_NUMBERS = frozenset({"http.response.status_code", "server.port"})
_SINCE_START = AggregationTemporality.CUMULATIVE


def converted(families: Iterable[Family], began_ns: int, now_ns: int) -> Iterator[Metric]:
    """Those that have a name in OTLP and a sample. Counters and histograms count since ``began_ns``, ns since 1970."""
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        if family.samples and (name in _OWN or name in PROCESS):
            yield _metric(family, name, began_ns, now_ns)


def _metric(family: Family, name: str, began_ns: int, now_ns: int) -> Metric:
    known = _OWN.get(name)
    otlp, unit = PROCESS[name] if known is None else (known.otlp, known.unit)
    attributes: Mapping[str, str] = {} if known is None else known.attributes
    if family.type == "histogram":
        histograms = list(_histograms(family.samples, attributes, began_ns, now_ns))
        return Metric(otlp, family.documentation, unit, Histogram(histograms, _SINCE_START))
    points = [
        NumberDataPoint(_said(sample.labels, attributes), began_ns, now_ns, sample.value) for sample in family.samples
    ]
    # the store's figures are the same for every process: a gauge, which nobody adds up
    data = Gauge(points) if name in OF_STORE else Sum(points, _SINCE_START, family.type == "counter")
    return Metric(otlp, family.documentation, unit, data)


def _histograms(
    samples: Iterable[Sample], attributes: Mapping[str, str], began_ns: int, now_ns: int
) -> Iterator[HistogramDataPoint]:
    """Prometheus' buckets count all that is not above them; those of OTLP only what is in none before."""
    found: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        found.setdefault(tuple(sample.labels[label] for label in attributes), []).append(sample)
    for one in found.values():
        buckets = [sample for sample in one if "le" in sample.labels]
        counts = [0, *(int(bucket.value) for bucket in buckets)]
        (total,) = (sample.value for sample in one if sample.name.endswith("_sum"))
        yield HistogramDataPoint(
            attributes=_said(one[0].labels, attributes),
            start_time_unix_nano=began_ns,
            time_unix_nano=now_ns,
            count=counts[-1],
            sum=total,
            bucket_counts=[upto - before for before, upto in pairwise(counts)],
            explicit_bounds=_bounds(buckets),
            min=None,  # pyright: ignore[reportArgumentType] - nobody kept them, and the exporter leaves them out then
            max=None,  # pyright: ignore[reportArgumentType]
        )


def _bounds(buckets: Sequence[Sample]) -> list[float]:
    """Without the last one, which is infinite."""
    return [float(bucket.labels["le"]) for bucket in buckets[:-1]]


def _said(labels: Mapping[str, str], attributes: Mapping[str, str]) -> dict[str, str | int]:
    """Labels as attributes: those that are empty say nothing."""
    said = {attributes[label]: value for label, value in labels.items() if value and label in attributes}
    return {name: int(value) if name in _NUMBERS else value for name, value in said.items()}
