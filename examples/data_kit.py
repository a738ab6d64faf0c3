"""The functions that `data_pipeline.yaml` calls: a weather service that is slow, busy and not always right.

Its readings are here, so that the same run gives the same page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from statemachine_flow import StepContext

#: Degrees Celsius; a null is a reading that was lost, and 999 a broken thermometer.
_READINGS: Final[Mapping[str, Sequence[float | None]]] = {
    "oslo": (-4.0, None, -2.5, 1.0),
    "rome": (9.5, 12.0, 999.0, 14.5),
    "cairo": (18.0, 23.5, 27.0, None),
}
#: So often the service is asked before the readings are there.
_ROUNDS: Final = 3


def order(stations: Sequence[str], asked: int) -> dict[str, Any]:
    """Ask for the readings of stations, and whether they are there."""
    return {"stations": len(stations), "ready": asked >= _ROUNDS}


def fetch(station: str, context: StepContext) -> dict[str, Any]:
    """The readings of a station.

    Raises:
        LookupError: there is no such station.
        ConnectionError: the service is busy, as it is for every first question about Cairo.
    """
    if station not in _READINGS:
        raise LookupError(f"there is no station {station!r}")
    if station == "cairo" and context.attempt == 1:
        raise ConnectionError("the service is busy")
    return {"station": station, "readings": list(_READINGS[station])}


def possible(readings: Sequence[float | None], lowest: float, highest: float) -> list[float]:
    """The readings that are there and can be true."""
    return [reading for reading in readings if reading is not None and lowest <= reading <= highest]


def table(stations: Sequence[Mapping[str, Any]], measure: str, unit: str) -> str:
    """A table with one line per station."""
    head = [f"| station | {measure}, {unit} |", "|---|--:|"]
    return "\n".join(
        head + [f"| {each['station']} | {_measured(each['readings'], measure, unit):.1f} |" for each in stations]
    )


def write(page: str, tables: Sequence[str], missing: Sequence[str]) -> dict[str, Any]:
    """Write the tables, and which stations are missing in them."""
    path = Path(page)
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = ["# The weather", *tables, *([f"Missing: {', '.join(missing)}"] if missing else [])]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return {"page": page, "missing": list(missing)}


def _measured(readings: Sequence[float], measure: str, unit: str) -> float:
    value = max(readings) if measure == "highest" else sum(readings) / len(readings)
    return value if unit == "celsius" else value * 9 / 5 + 32
