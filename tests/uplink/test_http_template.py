"""Templates of platforms: what ships loads, what cannot work is said with its place."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from station.model import ConfigError, fields
from uplink.http import template as templates
from uplink.http.emulator import platform_named
from uplink.http.template import RECORD_NAMES, REQUEST_NAMES, SHIPPED, VALUE_NAMES, Platform, load, parse

SOUND = """
title = "t"
source = "s"
{top}
[record]
text = '{{"id":"$id","values":[$values]}}'
{record}
[record.lists]
values = '{{"v":$value}}'
[request]
text = '{{"records":[$records]}}'
{request}
{more}
"""


def made(top="", record="", request="", more=""):
    return parse(SOUND.format(top=top, record=record, request=request, more=more))


@pytest.mark.parametrize("name", templates.shipped())
def test_what_ships_loads_and_says_where_it_comes_from(name):
    platform = load(SHIPPED / f"{name}.toml")
    assert platform.title
    assert platform.source in ("ours", "made up; no platform's document")
    text = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
    assert name.startswith("example-") == text.startswith("# MADE UP, of no platform")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"top": 'escpe = "json"'}, "escpe: unknown key; did you mean escape?"),
        ({"top": 'escape = "xml"'}, 'escape: "xml" is not one of json, form'),
        ({"top": 'missing = "zero"'}, 'missing: "zero" is not one of null, omit'),
        ({"top": "time = 5"}, "time: is not a text"),
        ({"record": "event = '{\"e\":$evnt}'"}, "record.event: $evnt is not known here; did you mean event?"),
        ({"record": "event = '$'"}, "record.event: has a $ that begins no name; write $$ for the sign itself"),
        ({"request": 'path = "/a$body"'}, "request.path: $body has no value here"),
        ({"request": "headers = { X = 5 }"}, "request.headers: is not a table of texts"),
        ({"request": 'headers = { X = "$signature" }'}, "request.headers.X: $signature has no value here"),
        ({"request": 'paths = { minut = "/m" }'}, "request.paths.minut: is no kind of record"),
        ({"more": '[kinds]\nminut = "1"'}, "kinds.minut: is no kind of record"),
        ({"more": '[marks]\nX = "1"'}, "marks.X: is no mark"),
        ({"more": '[sign]\nmethod = "sha1"\ntext = "$body"'}, 'sign.method: "sha1" is not one of md5, hmac-sha256'),
        ({"more": '[sign]\nmethod = "hmac-sha256"\ntext = "$body"'}, "sign.key: is missing: HMAC needs one"),
        ({"more": '[cipher]\nmode = "aes-cbc"\nkey = "$k"'}, "cipher.iv: is missing: CBC needs one"),
        ({"more": '[success]\nfield = "code"'}, "success.equals: is missing: which values of code are a yes?"),
        ({"more": '[success]\nequals = ["0"]'}, "success.field: is missing: whose values are they?"),
        ({"more": "[success]\nstatuses = [true]"}, "success.statuses: is not a list of whole numbers"),
        ({"more": "[login]\n"}, "login.path: is missing"),
        ({"more": '[login]\npath = "/l"\nlifetime_seconds = 0'}, "login.lifetime_seconds: is not a whole number above"),
    ],
)
def test_what_cannot_work_is_said_with_its_place(change, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        made(**change)


def test_a_text_that_is_no_json_once_filled_in_is_found_before_a_record_is_sent():
    with pytest.raises(ConfigError, match=r"record.text: is no JSON once its names are filled in"):
        parse(SOUND.format(top="", record="", request="", more="").replace('"id":"$id",', '"id":"$id"'))
    with pytest.raises(ConfigError, match=r"request.text: is no JSON"):
        parse(SOUND.format(top="", record="", request="", more="").replace("[$records]}", "[$records]"))


def test_a_signature_inside_what_it_signs_is_refused():
    """$body holds $signature, and $signature is made of $body."""
    text = SOUND.format(top="", record="", request="", more='[sign]\nmethod = "md5"\ntext = "$body"')
    with pytest.raises(ConfigError, match=r"request.text: \$signature has no value here"):
        parse(text.replace("""'{"records":[$records]}'""", """'{"sign":"$signature","records":[$records]}'"""))
    assert parse(
        text.replace("""'{"records":[$records]}'""", """'{"sign":"$signature","records":[$records]}'""").replace(
            '"$body"', '"$records$k"'
        )
    ).asked() == {"k"}


@pytest.mark.parametrize("text", ["", "x = ", "record = 1", "[record]\n[request]", "[[record]]"])
def test_what_is_no_template_is_refused(text):
    with pytest.raises(ConfigError, match="template: "):
        parse(text)


def test_a_file_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(ConfigError, match=r"none.toml: the template cannot be read \(No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "bytes.toml")


def test_times_are_written_as_a_platform_reads_them():
    at, zone = datetime(2026, 3, 1, tzinfo=UTC), timezone(timedelta(hours=8))
    ways = {"iso": "2026-03-01T08:00:00+08:00", "unix": "1772323200", "unix_ms": "1772323200000", "%H:%M": "08:00"}
    assert {way: made(top=f'time = "{way}"').written(at, zone) for way in ways} == ways


def test_a_form_is_escaped_as_one():
    assert made(top='escape = "form"\ncontent = "application/x-www-form-urlencoded"').escaped("a&b=粉 ") == (
        "a%26b%3D%E7%B2%89+"
    )
    assert made().escaped('a"b\n粉') == 'a\\"b\\n粉'


def test_a_receiver_speaks_a_template_of_ones_own(tmp_path):
    (tmp_path / "own.toml").write_text(SOUND.format(top="", record="", request="", more=""))
    assert platform_named(str(tmp_path / "own.toml")).title == "t"
    with pytest.raises(ConfigError, match='there is no template "own"'):
        platform_named("own")


README = (Path(templates.__file__).parent / "README.md").read_text(encoding="utf-8")


def rows(heading):
    start = README.index(f"| {heading} |")
    lines = README[start:].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("heading", "names"),
    [("name in a value", VALUE_NAMES), ("name in a record", RECORD_NAMES), ("name in a request", REQUEST_NAMES)],
)
def test_every_name_of_a_text_stands_in_the_page(heading, names):
    assert rows(heading) == [[f"`${name}`", text] for name, text in names.items()]


def test_every_table_of_a_template_stands_in_the_page():
    known = {one.name for one in fields(Platform)}
    assert {name for name in known if f"`{name}" not in README and f"`[{name}" not in README} == set()
