"""A modem asked by AT commands over an emulated one: each value, each fault, and text messages as PDUs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station.model import WrongArgument
from station.modem import sms
from station.modem.at import BadAnswer, Modem, ModemError, NoAnswer, PortGone, Refused, fields
from station.modem.emulator import EmulatedModem
from station.modem.settings import ModemSettings
from station.modem.watch import Seen, look, network_time
from station.modem.ways import AtWay, RouterWay, reaches

# By hand from 3GPP TS 23.040, 9.2.2.2: no SMSC; SUBMIT; reference 0; 11 digits, unknown kind; 31 08 31 08 00 F1; UCS2.
BY_HAND = "00" "01" "00" "0B" "81" "3108310800F1" "00" "08" "06" "62A58B660021"


@pytest.fixture
def modem(tmp_path: Path) -> Iterator[EmulatedModem]:
    with EmulatedModem(tmp_path / "modem") as made:
        yield made


def ask(modem: EmulatedModem, seconds: float = 0.3) -> Modem:
    return Modem(modem.path, 115200, answer_seconds=seconds)


def way(modem: EmulatedModem, **more: object) -> AtWay:
    settings = ModemSettings(kind="at", port=modem.path, answer_seconds=0.3, **more)  # type: ignore[arg-type]
    return AtWay(settings, lambda: True)


# -- what it says


def test_everything_it_says_of_itself(modem: EmulatedModem) -> None:
    modem.clock = '"26/12/01,10:30:00+32"'
    seen = look(ask(modem), "local")
    assert (seen.imei, seen.iccid, seen.operator, seen.apn) == (
        "867962041294151", "89860318760103581234", "CHINA MOBILE", "cmnet",
    )  # fmt: skip
    assert (seen.sim, seen.registration, seen.context, seen.why_down) == ("ready", "home", True, "")
    assert (seen.rssi, seen.rsrp, seen.rsrq, seen.sinr, seen.verdict) == (-67, -85, -10.0, 16.0, "good")
    assert seen.time == datetime(2026, 12, 1, 2, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("no_sim", "sim_none"), ("sim_pin", "sim_pin"), ("not_registered", "searching"), ("denied", "denied"),
        ("no_context", "no_context"), ("roaming", ""), ("weak", ""), ("echo", ""), ("urc_storm", ""), ("slow", ""),
        ("no_extended", ""),
    ],
)  # fmt: skip
def test_why_the_link_is_down(modem: EmulatedModem, fault: str, why: str) -> None:
    modem.fault = fault
    seen = look(ask(modem, 2.0), "local")
    assert seen.why_down == why
    assert seen.imei == modem.imei


def test_a_storm_of_reports_is_not_taken_for_answers(modem: EmulatedModem) -> None:
    """+CEREG: 2 between question and answer says that it searches; the answer says that it is at home."""
    modem.fault = "urc_storm"
    seen = look(ask(modem, 2.0), "local")
    assert (seen.registration, seen.rssi, seen.operator) == ("home", -67, "CHINA MOBILE")


def test_roaming_and_a_weak_signal_are_said(modem: EmulatedModem) -> None:
    asked = ask(modem)
    modem.fault = "roaming"
    assert look(asked, "local").registration == "roaming"
    modem.fault = "weak"
    seen = look(asked, "local")
    assert (seen.rsrp, seen.sinr, seen.verdict) == (-119, -2.0, "bad")
    modem.fault = "no_extended"
    seen = look(asked, "local")
    assert (seen.rsrp, seen.sinr, seen.rssi, seen.verdict) == (None, None, -67, "good")


def test_no_signal_known_has_no_verdict() -> None:
    assert Seen().verdict == ""


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("hang", NoAnswer, "AT: no answer within 0.3 s"),
        ("rubbish", NoAnswer, "no answer within"),
        ("flood", BadAnswer, "sends without end; is this its AT port"),
    ],
)
def test_a_modem_that_hangs_or_rambles_is_given_up_in_time(
    modem: EmulatedModem, fault: str, error: type[ModemError], said: str
) -> None:
    modem.fault = fault
    asked = ask(modem)
    with pytest.raises(error, match=said):
        look(asked, "local")
    modem.fault = ""
    assert look(asked, "local").registration == "home"  # and by itself again


def test_it_vanishes_from_usb_and_comes_back_under_the_same_link(modem: EmulatedModem) -> None:
    asked = ask(modem)
    assert look(asked, "local").registration == "home"
    modem.unplug()
    with pytest.raises(ModemError):
        look(asked, "local")
    with pytest.raises(PortGone, match="cannot be opened"):
        look(asked, "local")
    modem.plug_in()
    assert look(asked, "local").registration == "home"


def test_a_stop_ends_a_wait(modem: EmulatedModem) -> None:
    modem.fault = "hang"
    looks = iter([True] * 4)
    asked = Modem(modem.path, 115200, answer_seconds=30, running=lambda: next(looks, False))
    with pytest.raises(InterruptedError):
        asked.ask("AT")


def test_fields_with_commas_and_nothing_between() -> None:
    assert fields('1,"IP","cm,net",,0') == ["1", "IP", "cm,net", "", "0"]


# -- its clock


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('"80/01/06,00:00:12+00"', "of 1980"), ('"70/01/01,00:00:00+32"', "of 1970"),
        ('"04/01/01,00:00:00+00"', "of 2004"),
        ('""', "no time"), ('"26/13/01,00:00:00+32"', "is none"), ('"26/12/01,10:30:00"', "without its zone"),
        ('"26/12/01,10:30:00+99"', "99 quarters"), ("rubbish", "no time"), ('"26/12/01,25:00:00+32"', "is none"),
    ],
)  # fmt: skip
def test_a_time_that_no_network_has_set_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        network_time(text)


def test_quarters_of_an_hour_west_and_east() -> None:
    assert network_time('"26/12/01,08:15:00+23"') == datetime(2026, 12, 1, 2, 30, tzinfo=UTC)
    assert network_time('"26/11/30,20:30:00-24"') == datetime(2026, 12, 1, 2, 30, tzinfo=UTC)
    assert network_time('"26/12/01,02:30:00"', "utc") == datetime(2026, 12, 1, 2, 30, tzinfo=UTC)


@pytest.mark.parametrize(("fault", "said"), [("wrong_clock", "of 1980"), ("no_clock", "no time from its network")])
def test_a_wrong_clock_is_seen_and_said(modem: EmulatedModem, fault: str, said: str) -> None:
    modem.fault = fault
    seen = look(ask(modem), "local")
    assert seen.time is None
    assert said in seen.refused_time


# -- text messages


def test_a_pdu_made_by_hand() -> None:
    """报警! to 13801380001 in national form."""
    assert sms.submit("13801380001", "报警!") == [(len(BY_HAND) // 2 - 1, BY_HAND)]


def test_a_long_text_goes_in_parts_that_are_put_together_again() -> None:
    text = "报警 dust:工地 PM10 120.0 µg/m³,限值 100.0 µg/m³。" * 4
    made = sms.submit("+8613800138000", text, 0x5A)
    read = [sms.read(pdu) for _, pdu in made]
    assert [which for _, _, which in read] == [(0x5A, len(made), n) for n in range(1, len(made) + 1)]
    assert "".join(part for _, part, _ in read) == text
    assert {number for number, _, _ in read} == {"+8613800138000"}
    assert all(length <= 164 for length, _ in made)  # 9.2.3.24: 140 octets of user data
    assert made[0][1].startswith("0041000D91683108108300F000088C0500035A")


def test_seventy_are_one_message_and_a_pair_of_surrogates_is_not_parted() -> None:
    assert len(sms.parts("限" * 70)) == 1
    found = sms.parts("限" * 66 + "😀" + "限" * 5)
    assert [len(one) for one in found] == [66, 6]
    assert len(sms.parts("限" * 5000)) == sms.MOST_PARTS
    assert sms.parts("限" * 5000)[-1].endswith("…")


@pytest.mark.parametrize("number", ["", "12", "138 0013", "+", "1" * 21, 'x",1'])
def test_a_number_that_is_none(number: str) -> None:
    with pytest.raises(sms.NoNumber, match="no telephone number"):
        sms.submit(number, "x")


@pytest.mark.parametrize("fault", ["", "echo", "urc_storm"])
def test_a_text_goes_out_whole(modem: EmulatedModem, fault: str) -> None:
    modem.fault = fault
    text = "【站】报警 PM10 超限,请到现场。" * 6
    way(modem).text("+8613800138000", text)
    assert modem.texts == [("+8613800138000", text)]


def test_a_text_that_is_refused_says_why_and_the_next_one_goes(modem: EmulatedModem) -> None:
    sending = way(modem)
    modem.fault = "sms_refused"
    with pytest.raises(Refused, match=r"\+CMS ERROR: 500"):
        sending.text("13800138000", "x")
    modem.fault = "not_registered"
    with pytest.raises(Refused, match=r"\+CMS ERROR: 331"):
        sending.text("13800138000", "x")
    modem.fault = ""
    sending.text("13800138000", "y")
    assert [text for _, text in modem.texts] == ["y"]


def test_a_modem_that_hangs_within_a_message_is_freed_from_it(modem: EmulatedModem) -> None:
    sending = way(modem)
    sending.text("13800138000", "x")
    modem.fault = "hang"
    with pytest.raises(NoAnswer):
        sending.text("13800138000", "y")
    modem.fault = ""
    sending.text("13800138000", "z")
    assert [text for _, text in modem.texts] == ["x", "z"]


# -- steps, and other ways


def test_a_redial_sets_the_apn_and_a_reset_brings_it_back(modem: EmulatedModem) -> None:
    modem.fault, modem.cures, modem.apn = "no_context", "redial", "wrong"
    helped = way(modem, apn="cmiot")
    helped.redial()
    seen = helped.look()
    assert (seen.context, seen.apn, modem.redials) == (True, "cmiot", 1)
    helped.reset()
    assert helped.look().registration == "home"
    assert modem.resets == 1


def test_a_router_can_be_told_nothing_and_is_seen_by_what_lies_behind() -> None:
    import socket

    router = RouterWay(ModemSettings(kind="router", check="127.0.0.1:9"), lambda: True)
    for act in (router.redial, router.reset, lambda: router.text("138", "x")):
        with pytest.raises(WrongArgument):
            act()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reaches(f"127.0.0.1:{port}")
    assert not reaches(f"127.0.0.1:{port}")
    assert not reaches("nonsense")


def test_a_date_that_lies_far_off_is_what_the_clock_says() -> None:
    assert network_time('"69/12/31,23:59:59+00"') - datetime(2069, 12, 31, tzinfo=UTC) < timedelta(days=1)
