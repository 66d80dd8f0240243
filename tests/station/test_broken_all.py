"""Everything beside the station broken at once: what it measures and reports is as if nothing were (counts alone)."""

from __future__ import annotations

from pathlib import Path

from tests import broken_all


def test_nothing_that_is_broken_beside_the_station_is_in_its_way(tmp_path: Path) -> None:
    plain, broken = broken_all.run(tmp_path, 40.0)
    wrong = [text for text in broken_all.faults(plain, broken) if "not seen in status" not in text]
    assert wrong == []
    seen = {name.split()[0] for name in broken.failing}
    assert seen >= {"screen", "camera", "sampler", "supply", "modem"}
    assert broken.told["beside_failed"] <= 3 * 9  # nine things, of which each is told three times an hour at most
    assert broken.told["tunnel_refused"] == 1
    assert broken.told["sender_refused"] <= 6  # a kind of refusal an hour each
    assert broken.stop_seconds < 10
