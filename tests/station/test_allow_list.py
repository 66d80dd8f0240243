"""Every CN from 0000 to 9999 with chance parameters at the real desk: nothing but what is allowed is done."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import pytest

from station.commands import VERBS
from station.model import replace
from station.parameters import catalogue
from tests.station.conftest import CONFIG, Rig
from uplink.base import ALLOWABLE, Context
from uplink.hj212.frame import Segment, fence
from uplink.hj212.link import Hj212Settings, Hj212Uplink
from uplink.hj212.messages import COMMANDS
from uplink.hj212.requests import Requests
from uplink.hj212.uploads import Uploads
from uplink.hj212.voice import Voice, qn_of
from uplink.memory import MemoryOutbox

STANDARDS = ("2005", "2017", "2025")
FITTING = {  # parameters that would be carried out, where the platform may
    "1000": ["OverTime=5;ReCount=3"],
    "1002": ["i23005-Info=010000A8900016F000169DC0"],
    "1011": [""],
    "1012": ["SystemTime={now}"],
    "1014": ["SKCreateTime={now};NewSK=k3J9-xQ2m7Zp0sWd"],
    "1041": [""],
    "1061": [""],
    "1062": ["RtdInterval=60"],
    "1063": [""],
    "1064": ["MinInterval=10"],
    "1072": ["NewPW=654321"],
    "2011": ["", "BeginTime={now};EndTime={now}"],
    "3011": ["PolId={pm25}", "PolId={pm25};CalibrationType=0"],
    "3015": [""],
    "3016": ["PolId={pm25};CstartTime=000000;CTime=2"],
    "3020": ["PolId={pm25};InfoId=i12001", "InfoId=i22001"],
    "3021": ["PolId={pm25};InfoId=i13004;i13004-Info=168"],
} | {cn: ["PolId={pm25}"] for cn in ("3012", "3013", "3014", "3017", "3018", "3019", "3022", "3024")}
NAMES = [
    "PolId",
    "SystemTime",
    "RtdInterval",
    "BeginTime",
    "EndTime",
    "NewPW",
    "InfoId",
    "i13004-Info",
    "NewSK",
    "ReCount",
]
VALUES = ["a34004", "20260301120000", "30", "", "9" * 40, "//x//", "k3J9-xQ2m7Zp0sWd", "-1", "i13004"]
SETTINGS = {
    "set_interval": {"realtime_seconds", "minute_minutes"},
    "set_timeouts": {"timeout_seconds", "resends"},
    "reporting": {"realtime", "equipment"},
    "set_mn": {"mn.site"},
}


class Counting:
    """A clock setter that is asked and sets nothing."""

    def __init__(self) -> None:
        self.asked = 0

    def set(self, moment: datetime, *, trusted: bool) -> str | None:
        self.asked += 1
        return None


class Besieged(Rig):
    """A station whose platform may do what one group allows, and is sent everything there is."""

    def __init__(self, folder: Path, allow: tuple[str, ...]) -> None:
        config = CONFIG.replace("realtime_seconds = 30", f"realtime_seconds = 30\nallow = {json.dumps(allow)}")
        super().__init__(folder, config)
        self.clock_setter = self.counting = Counting()
        self.restart()
        self.instrument.actions = {verb: ("pm25", "pm10") for verb in VERBS}
        self.said: list[bytes] = []
        self.kept: list[str] = []
        self.engine.desk._credentials = self.keep_secret
        self.outbox = MemoryOutbox()
        self.ends = [self.end(standard) for standard in STANDARDS]

    def end(self, standard: str) -> tuple[Requests, str, str]:
        """What judges requests in one generation, its Flag for them, and the code of PM2.5."""
        settings = self.loaded.config.uplink[0]
        assert isinstance(settings, Hj212Settings)
        context = Context(
            catalogue=catalogue(), zone=self.loaded.zone, now=self.clock.now, monotonic=self.clock.monotonic,
            secret=lambda name: "123456", started=self.clock.now(),
        )  # fmt: skip
        habits = replace(settings.habits, report_time="HHMM")
        uplink = Hj212Uplink(replace(settings, standard=standard, habits=habits), context, {"site": "39"})
        voice = Voice(uplink._terms, self.outbox, "123456", None)
        uploads = Uploads(uplink._terms, voice, self.outbox)
        requests = Requests(uplink._terms, voice, self.engine.desk, uploads, self.said.append)
        code = uplink._terms.wording.factors["pm25"].code
        return requests, uplink.dialect.flag(answer=True), code

    def besiege(self, source: random.Random, numbers: Iterable[int]) -> None:
        for number in numbers:
            cn = f"{number:04d}"
            fitting = FITTING.get(cn, [""])
            for data in [*fitting, self.chance(source)]:
                for requests, flag, code in self.ends:
                    self.clock.advance(0.011)
                    now = self.clock.now()
                    qn = qn_of(int(now.timestamp() * 1000), self.loaded.zone)
                    text = data.format(now=qn[:14], pm25=code)
                    requests.asked(Segment(qn=qn, st="39", cn=cn, pw="123456", mn="M1", flag=flag, cp=fence(text)))
                self.come_round()

    def chance(self, source: random.Random) -> str:
        picked = source.sample(NAMES, source.randrange(4))
        return ";".join(f"{name}={source.choice(VALUES)}" for name in picked)

    def keep_secret(self, platform: str, which: str, text: str) -> str | None:
        self.kept.append(which)
        return None

    def come_round(self) -> None:
        """Buses, commit, answers; a platform that changed its password or silenced itself starts anew."""
        for poller in self.engine.pollers:
            while not poller._errands.empty():
                poller.turn()
        if self.engine.recorder.urgent:
            self.engine.tick()
        for requests, _, _ in self.ends:
            requests.results()
            requests._voice.password = "123456"
            requests._pending = 0
            requests._uploads.close()

    def close(self) -> None:
        for requests, _, _ in self.ends:
            requests.mailbox.close()
        self.outbox.close()
        self.engine.shut_down()


@pytest.mark.parametrize(
    "allow", [(), ALLOWABLE, *[(group,) for group in ALLOWABLE]], ids=lambda allow: "+".join(allow)
)
def test_nothing_outside_the_allow_list_is_executed(
    tmp_path: Path, allow: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    """Every verb of the groups allowed is carried out, not one of another, and nothing else has changed.

    All ten thousand CNs where nothing or everything is allowed; for each group alone those of the table and a tenth.
    """
    source = random.Random(f"212 {allow}")
    known = {int(row.cn) for row in COMMANDS}
    numbers = range(10_000) if len(allow) != 1 else sorted(known.union(source.sample(range(10_000), 1000)))
    rig = Besieged(tmp_path, allow)
    request.addfinalizer(rig.close)
    rig.besiege(source, numbers)
    rig.engine.commit()
    done = {verb for (verb,) in rig.engine.store.query("SELECT DISTINCT verb FROM seen")}
    reachable = {row.verb for row in COMMANDS if row.verb}
    assert done == {verb for verb in reachable if VERBS[verb].group in ("read", *allow)}
    changes = {verb for verb, _ in rig.instrument.acted if VERBS[verb].group != "read"}
    assert {VERBS[verb].group for verb in changes} <= set(allow)
    keys = {key for (key,) in rig.engine.store.query("SELECT key FROM setting") if not key.endswith(".configured")}
    assert keys == {key for group in allow for key in SETTINGS.get(group, ())}
    assert {f"set_{which}" for which in rig.kept} == {"set_password", "set_key"} & set(allow)
    assert bool(rig.counting.asked) == ("set_clock" in allow)
    assert all(len(frame) <= 1036 for frame in rig.said)
