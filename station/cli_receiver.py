"""`station emulate receiver`: an HTTPS platform to try a station against."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from station.command_line import must_be_known, print_json, say, stop_signal
from station.i18n import t
from station.model import StoreError, WrongArgument
from station.texts import Command, json_option, lang_option, option

if TYPE_CHECKING:
    from uplink.http.emulator import Received


@click.command("receiver", cls=Command, help="help.emulate_receiver")
@option("--port", key="port", type=click.IntRange(0, 65535), default=8443)
@option("--host", key="host", default="127.0.0.1")
@option("--tls-dir", key="tls_dir", type=click.Path(path_type=Path))
@option("--client-certificate", key="asks_client", is_flag=True)
@option("--template", key="receiver_template", default="niutang")
@option("--fault", key="platform_fault")
@json_option
@lang_option
def emulate_receiver(
    port: int, host: str, tls_dir: Path | None, client_certificate: bool, template: str, fault: str | None,
    as_json: bool,
) -> int:  # fmt: skip
    """An HTTP platform that counts what it gets and what it gets again, until it is told to stop."""
    from station.emulate import listen, obey_platform
    from uplink.http.emulator import FAULTS, Receiver, platform_named

    def tell(received: Received) -> None:
        if as_json:
            shown = {name: getattr(received, name) for name in ("key", "path", "records", "new", "duplicate")}
            print(json.dumps(shown, ensure_ascii=False), flush=True)
            return
        note = t("emulate.repeated") if received.duplicate else ""
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        say(t("emulate.group", time=now, path=received.path, records=received.records, new=received.new, note=note))

    if fault is not None:
        must_be_known(fault, set(FAULTS), "fault")
    if client_certificate and tls_dir is None:
        raise WrongArgument("--client-certificate needs --tls-dir: only TLS shows certificates")
    stop = stop_signal()
    receiver = Receiver(
        host, port, tls=tls_dir, platform=platform_named(template), asks_client=client_certificate, keep=False,
        on_request=tell,
    )  # fmt: skip
    try:
        receiver.start()
        if fault is not None:
            receiver.fault(fault)
    except ValueError as error:
        receiver.stop()
        raise WrongArgument(str(error)) from error
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0
        said = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise StoreError(f"{host}:{port}: cannot be listened on ({said}); try another --host or --port") from error
    try:
        if not as_json:
            print(t("emulate.receiving", url=receiver.url))
            if tls_dir is not None:
                print(t("emulate.authority", path=tls_dir / "ca.pem"))
            print(t("emulate.prompt_platform", faults=", ".join(FAULTS)))
            print(t("emulate.ready"), flush=True)
        listen(sys.stdin, obey_platform(receiver, "receiver"), say if not as_json else lambda _: None)
        stop.wait()
        summary = receiver.summary()
        print_json(summary) if as_json else print(t("emulate.received", **summary))
        return 0
    finally:
        receiver.stop()
