"""What the evaluation of a weighing collector makes of synthetic months: python tests/bench/bench_collector.py"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from station.collector import Collector, Terms
from station.dustfall import dustfall
from tests.station.test_collector import TERMS, Weather


def month(rate: float, *, rain: bool, noise_mg: float, drift_mg: float = 0.0) -> tuple[Weather, Collector]:
    """Thirty days with three rains of 6 mm, or none; nights 2 K colder than days, and 2.5 K colder in the end."""
    weather, jar = (
        Weather(rate, noise_mg=noise_mg, drift_mg=drift_mg),
        Collector(Terms(band_kelvin=3.0, drift_mg=drift_mg)),
    )
    weather.dew_g = 0.3
    for day in range(30):
        for hour in range(24):
            weather.celsius = 20.0 + (2.0 if 9 <= hour < 18 else 0.0) - 2.5 * day / 30
            falls = 3.0 if rain and day in (5, 12, 20) and hour in (3, 4) else 0.0
            weather.pass_time(jar, timedelta(hours=1), falls)
    return weather, jar


def main() -> None:
    """The worked numbers, then months."""
    area = TERMS.area_cm2
    print(f"jar 15.0 cm: S = {area:.1f} cm²")
    tonne = 1000 / dustfall(1.0, area * 30)
    print(f"1 t/(km²·30d): {tonne:.2f} mg in 30 days, {tonne / 30:.2f} mg a day")
    print(f"1 mm of rain: {area / 10:.2f} g; 2 mg/K over 12 K: {dustfall(0.024, area * 30):.2f} t in a month")
    print(f"1 mg wrong after 7 days: {dustfall(0.001, area * 7):.2f} t")
    print()
    print("fell  rain  noise mg  drift mg/K      M found    ±doubt       mg   days")
    for rate in (1.2, 4.5, 10.0):
        for rain, noise, drift in ((False, 0.1, 0.0), (True, 0.1, 0.0), (True, 0.4, 0.2), (True, 0.4, 2.0)):
            weather, jar = month(rate, rain=rain, noise_mg=noise, drift_mg=drift)
            found = jar.result(weather.at)
            assert found.mass_g is not None
            value = "-" if found.value is None else f"{found.value:.2f}"
            print(
                f"{rate:4.1f}  {rain!s:5} {noise:8.1f} {drift:10.1f}"
                f" {value:>12} {found.doubt or 0.0:9.2f} {found.mass_g * 1000:8.2f} {found.days:6.2f}"
            )


if __name__ == "__main__":
    main()
