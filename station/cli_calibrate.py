"""`station calibrate`: a procedure led step by step, and what is on record of those before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from station.cli_calibrated import certificate, diff, due, revert, show_all, show_one, sign
from station.command_line import read_config
from station.texts import Command, Group, config_option, json_option, lang_option, option

# As in calibration_run.py, which is loaded late; a test holds them against each other.
PROCEDURES = (
    "zero", "span", "two-point", "multi-point", "weights", "k-factor", "check", "repeat-check", "flow-check",
    "ph-buffers", "instrument-zero", "instrument-span", "instrument-points",
)  # fmt: skip
WHERE = ("station", "instrument")
LEAD = "run"  # what DEVICE PARAMETER is short for: `station calibrate run list pm25` for an instrument called list


class Calibrate(Group):
    """A group whose first word is one of its commands, or an instrument that is to be calibrated."""

    fallback = LEAD

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words behind the group; an option that is not its own is one of the procedure."""
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        if args and args[0].startswith("-") and args[0].partition("=")[0] not in own:
            args = [LEAD, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; else the procedure, of which it is the instrument."""
        if args and args[0] not in self.commands:
            args = [LEAD, *args]
        return super().resolve_command(ctx, args)


@click.group("calibrate", cls=Calibrate, help="help.calibrate")
@lang_option
def calibrate() -> None:
    """Calibrations: led, listed, shown, taken back, certified."""


@calibrate.command(LEAD, cls=Command, help="help.calibrate_run")
@click.argument("device")
@click.argument("parameter", required=False, metavar="PARAMETER")  # without it: what there is
@option("--procedure", key="procedure", type=click.Choice(PROCEDURES))
@option("--standard", "standards", key="calibration_standard", multiple=True)
@option("--into", key="calibration_into", type=click.Choice(WHERE))
@option("--times", key="calibration_times", type=click.IntRange(3, 10), default=6)
@option("--shown", key="calibration_shown", type=float, multiple=True)
@option("--reference", key="calibration_reference", type=click.Path(path_type=Path))
@option("--user", key="user", default="")
@option("--serial", key="calibration_serial", default="")
@option("--firmware", key="calibration_firmware", default="")
@option("--environment", key="calibration_environment", default="")
@option("--photo", "photos", key="calibration_photo", type=click.Path(path_type=Path), multiple=True)
@option("--copy-photos", key="calibration_copy_photos", is_flag=True)
@option("--next", "scripted", key="next", is_flag=True)
@option("--unattended", key="calibration_unattended", is_flag=True)
@option("--cancel", "cancel_for", key="cancel")
@option("--override", key="calibration_override", default="")
@option("--note", key="calibration_note", default="")
@option("--full-scale", key="full_scale", type=float)
@option("--readings", key="stable_readings", type=int, default=6)
@option("--noise", key="stable_noise", type=float, default=1.0)
@option("--drift", key="stable_drift", type=float, default=1.0)
@option("--stay", key="stable_stay", type=float)
@option("--every", key="every", type=float)
@option("--wait", key="wait", type=float, default=600.0)
@option("--tail", key="tail", type=float, default=120.0)
@config_option
@json_option
@lang_option
def lead(
    device: str, parameter: str | None, procedure: str | None, standards: tuple[str, ...], into: str | None, times: int,
    shown: tuple[float, ...], reference: Path | None, user: str, serial: str, firmware: str, environment: str,
    photos: Sequence[Path],
    copy_photos: bool, scripted: bool, unattended: bool, cancel_for: str | None, override: str, note: str,
    full_scale: float | None, readings: int, noise: float, drift: float, stay: float | None, every: float | None,
    wait: float, tail: float, config: Path, as_json: bool,
) -> None:  # fmt: skip
    """One parameter of an instrument, from the first standard to the coefficients."""
    from station.calibration_photo import seen
    from station.calibration_standard import standard_in
    from station.cli_calibrate_desk import Asked, Desk

    loaded = read_config(config)
    if parameter is None:
        from station.cli_calibrate_which import lines

        print("\n".join(lines(loaded, device)))
        raise click.exceptions.Exit(2)
    desk = Desk(loaded, device, parameter, as_json, tail)
    rule: dict[str, Any] = {"readings": readings, "noise_percent": noise, "drift_percent": drift, "seconds": stay}
    asked = Asked(
        procedure=procedure, standards=[standard_in(text) for text in standards], into=into or "", times=times,
        shown=shown, reference=reference, user=user, serial=serial, firmware=firmware, environment=environment,
        override=override, note=note,
        photos=seen(photos, loaded.data_folder if copy_photos else None), full_scale=full_scale, rule=rule, wait=wait,
    )  # fmt: skip
    with desk.reading(every):
        if cancel_for is not None:
            desk.cancel(cancel_for, user, override)
        elif unattended:
            desk.leave(asked)
        elif scripted:
            desk.go_on(asked)
        else:
            desk.lead(asked)


for one in (show_all, show_one, diff, due, sign, revert, certificate):
    calibrate.add_command(one)
