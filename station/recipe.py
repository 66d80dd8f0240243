"""Recipes: configurations to start from, one for each duty, as files of data in two languages.

A recipe is TOML with comments and names written "中文 | English", of which one side is taken; lines that begin with #!
say what it is for.  Placeholders for instruments whose registers come with a contract lie in recipes/profiles.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from station.model import StoreError, WrongArgument, dataclass, did_you_mean
from station.written import write_whole

FOLDER = Path(__file__).with_name("recipes")
ABOUT = ("title", "duty", "partner", "dialect")
PASSWORD = "000000"  # what the platform gave takes its place


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One recipe in one language: the text of station.toml, and what it is for."""

    name: str
    about: Mapping[str, str]
    text: str

    @property
    def credentials(self) -> list[str]:
        """The files its platforms want their passwords in."""
        return [uplink["password_file"] for uplink in tomllib.loads(self.text).get("uplink", ())]

    @property
    def profiles(self) -> list[Path]:
        """The placeholders among its instruments' profiles."""
        buses = tomllib.loads(self.text).get("bus", ())
        names = {device.get("profile") for bus in buses for device in bus["device"]}
        return [path for path in sorted((FOLDER / "profiles").glob("*.toml")) if path.stem in names]


def names() -> list[str]:
    """Every recipe there is."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def recipe(name: str, language: str) -> Recipe:
    """The recipe called *name* in *language*; raise WrongArgument.

    >>> recipe("site-dust", "en").about["dialect"], recipe("boiler", "zh").about["title"]
    ('HJ 212-2017 site-dust, ST=39', '燃气锅炉烟气旁路读取')
    """
    if name not in names():
        raise WrongArgument(f'there is no recipe "{name}"{did_you_mean(name, names())}; see station init')
    text = in_language((FOLDER / f"{name}.toml").read_text(encoding="utf-8"), language)
    head = dict(re.findall(r"^#! (\w+) (.+)$", text, flags=re.M))
    return Recipe(name=name, about={key: head[key] for key in ABOUT}, text=re.sub(r"^#! .*\n", "", text, flags=re.M))


def in_language(text: str, language: str) -> str:
    """*text* with one side of everything that is written in both languages.

    >>> in_language('name = "工地 | Site"  # 扬尘 | dust', "en"), in_language("#! title 甲 | A", "zh")
    ('name = "Site"  # dust', '#! title 甲')
    """
    side = 0 if language == "zh" else 1
    text = re.sub(r"^#! (\w+) (.+?) \| (.+)$", lambda found: f"#! {found[1]} {found[2 + side]}", text, flags=re.M)
    text = re.sub(r'"([^"|\n]+) \| ([^"|\n]+)"', lambda found: f'"{found[1 + side]}"', text)
    return re.sub(r"# ([^|\n]+) \| ([^\n]+)", lambda found: f"# {found[1 + side]}", text)


def write(one: Recipe, folder: Path, about: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """station.toml in *folder*, headed by the lines *about*, and what it needs: all files written, and the passwords.

    Nothing that is there already is written over; raise StoreError.
    """
    path = folder / "station.toml"
    if path.exists():
        raise StoreError(f"{path}: is there already; name another --output")
    head = "".join(f"# {line}\n" for line in about)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, head + one.text)
        profiles = [_copied(profile, folder / "profiles") for profile in one.profiles]
        passwords = [made for name in one.credentials if (made := _placeholder(folder / name))]
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: cannot be written ({error.strerror})") from error
    return [path, *profiles, *passwords], passwords


def _copied(profile: Path, folder: Path) -> Path:
    """*profile* in *folder*; one that is there already stays as it is."""
    folder.mkdir(exist_ok=True)
    target = folder / profile.name
    if not target.exists():
        target.write_bytes(profile.read_bytes())
    return target


def _placeholder(path: Path) -> Path | None:
    """A password nobody gave, readable by its owner alone; None where there is one already."""
    if path.exists():
        return None
    path.touch(mode=0o600)
    path.write_text(PASSWORD + "\n", encoding="utf-8")
    return path
