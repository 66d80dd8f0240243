"""`station init`: a station.toml to start from, for one of the duties that recipes were written for."""

from __future__ import annotations

from pathlib import Path

import click

from station.command_line import print_json
from station.i18n import language, t
from station.texts import Command, json_option, lang_option, option


@click.command("init", cls=Command, help="help.init")
@option("--recipe", "name", key="recipe")
@option("--output", key="init_output", type=click.Path(path_type=Path), default=".")
@json_option
@lang_option
def init(name: str | None, output: Path, as_json: bool) -> None:
    """The recipes there are, or one of them written down."""
    from station.recipe import ABOUT, names, recipe, write

    if name is None:
        found = [recipe(one, language()) for one in names()]
        if as_json:
            print_json({"recipes": [{"name": one.name, **one.about} for one in found]})
            return
        from station.screen import show_rows

        columns = ("name", *ABOUT)
        rows = [{"name": one.name, **one.about} for one in found]
        show_rows([(column, t(f"init.{column}")) for column in columns], rows)
        print(t("init.how"))
        return
    one = recipe(name, language())
    about = [f"{t(f'init.{key}')}{t('init.colon')}{one.about[key]}" for key in ABOUT]
    files, passwords = write(one, output, about)
    if as_json:
        print_json({"recipe": one.name, "files": list(map(str, files)), "placeholders": list(map(str, passwords))})
        return
    for path in files:
        print(t("init.written", path=path))
    for path in passwords:
        print(t("init.password", path=path))
    print(t("init.next", path=files[0]))
