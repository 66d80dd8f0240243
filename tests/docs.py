"""Tables of the READMEs that are made from the code: `python -m tests.docs` writes them, a test compares."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from drivers import INPUTS, OUTPUTS
from drivers.analyser import AnalyserSettings, CommandSettings, PlaceSettings
from drivers.bam1020 import BamSettings
from drivers.base import DeviceSettings
from drivers.captured import FAULTS, NOTES
from drivers.current import ChannelSettings, CurrentSettings
from drivers.dio import DioSettings
from drivers.dlt645 import MeterSettings
from drivers.doctor import ADVICE
from drivers.modbus import ModbusSettings
from drivers.profile import SHIPPED, Profile, load
from drivers.profile_file import KEYS
from drivers.records import FORMATS, Format
from drivers.stream import StreamSettings
from station import i18n, recipe
from station.config import (
    ALARM,
    BOUNDARY,
    CAMERA,
    CITY,
    DRY_FLOW,
    MODEM,
    NOTIFY,
    PAIR,
    PERMIT,
    POSITION,
    QC,
    RULES,
    SAMPLER,
    SCREEN,
    SUPPLY,
    TUNNEL,
    BusConfig,
    CollectorSettings,
    DiskSettings,
    DustfallSettings,
    PointSettings,
    RetentionSettings,
    StationSettings,
    resolve,
)
from station.model import MISSING, fields
from station.page.settings import PageSettings
from station.receiving import SenderSettings
from station.texts import Option

ROOT = Path(__file__).parents[1]
TABLES = {
    "station": StationSettings,
    "retention": RetentionSettings,
    "disk": DiskSettings,
    "dustfall": DustfallSettings,
    "[point]": PointSettings,
    "[bus]": BusConfig,
    "[collector]": CollectorSettings,
    "page": PageSettings,
}
LINKS = {
    "README.md": "Keys of `[[bus.device]]` are in [drivers/README.md](drivers/README.md), "
    "keys of `[[uplink]]` in [uplink/hj212/README.md](uplink/hj212/README.md) "
    "and, for HTTPS, [uplink/http/README.md](uplink/http/README.md), "
    "for MQTT, [uplink/mqtt/README.md](uplink/mqtt/README.md).",
    "README.zh.md": "`[[bus.device]]` 的键见 [drivers/README.md](drivers/README.md),"
    "`[[uplink]]` 的键见 [uplink/hj212/README.md](uplink/hj212/README.md),"
    "HTTPS 见 [uplink/http/README.md](uplink/http/README.md),MQTT 见 [uplink/mqtt/README.md](uplink/mqtt/README.md)。",
}
FILES = (
    *LINKS,
    "drivers/README.md",
    "drivers/README.zh.md",
    "hardware/README.md",
    "hardware/README.zh.md",
    "station/README.md",
)
WATCHED = {
    "alarm": ALARM,
    "city": CITY,
    "pair": PAIR,
    "dry_flow": DRY_FLOW,
    "permit": PERMIT,
    "qc": QC,
    "boundary": BOUNDARY,
    "notify": NOTIFY,
    "tunnel": TUNNEL,
    "screen": SCREEN,
    "supply": SUPPLY,
    "position": POSITION,
    "sampler": SAMPLER,
    "camera": CAMERA,
    "modem": MODEM,
}  # tables that station/README.md documents
WIRED = {"input": INPUTS, "output": OUTPUTS, "rule": RULES}  # the kinds each table may be of
REQUIRED = {"en": "required", "zh": "必填"}
CHINESE = {
    "[station].name": "监测站在界面和报告中的名称",
    "[station].timezone": "时段和报文所用的法定时间,写作与 UTC 的偏差",
    "[station].data_folder": "station.db 所在的文件夹;相对于 station.toml 所在的文件夹",
    "[station].commit_seconds": "断电最多丢失这么多秒的数据",
    "[station].closing_delay_seconds": "时段结束后等待最后应答的秒数;更晚到的数据形成新版本",
    "[station].reserve_mb": "预留的磁盘空间,MiB,磁盘写满时腾出;0 为不预留",
    "[station].wind_mean": "风向平均:按风速加权(weighted)或各次同权(unit)",
    "[station].clock": "时间以何为准:systemd-timesyncd或chronyd(auto),或只凭主机时钟(host)",
    "[station].rtc_after_minutes": "时间一直未经确认时,过多久改用主机的实时时钟(RTC);0为从不",
    "[station].clock_socket": "平台校时命令交给校时助手执行的套接字(见 systemd/README.md)",
    "[station].control_socket": "各命令联系运行中监测站的套接字;留空则为运行或数据文件夹中的 control.sock",
    "[station].health_file": "运行中的监测站在此写入状态信号;留空则为运行文件夹中的 health.json",
    "[retention].readings_days": "实时读数保留天数",
    "[retention].averages_days": "均值保留天数",
    "[retention].messages_days": "上报原文保留天数",
    "[retention].events_days": "事件保留天数",
    "[retention].records_days": "核查、暴露和线路统计等记录的保留天数",
    "[retention].when_full": "磁盘写满时:什么也不删(keep),或删去所有平台均已应答的最旧实时读数(answered)",
    "[disk].budget_mb": "数据库最多占用的 MB;0 为不限",
    "[disk].floor_mb": "磁盘剩余少于此 MB 时报警;0 为写满前不报警",
    "[disk].release": "达到预算或下限时:原始月份不动(never),或在 station backup 到另一磁盘后移出(copied)",
    "[page].listen": "网页监听的地址;127.0.0.1 表示仅本机可用",
    "[page].port": "网页的 TCP 端口",
    "[page].hosts": "除 localhost、主机名和本机地址外,还可用来访问网页的名称",
    "[page].open_view": "true:能连上网页的人不登录也可查看,但不能操作",
    "[page].session_hours": "登录后最多保持多少小时",
    "[page].idle_minutes": "多少分钟没有访问网页即退出登录",
    "[page].code_hours": "一次性代码的有效小时数",
    "[page].trusted_proxy": "前置 TLS 代理的地址,采信其 X-Forwarded-For 和 X-Forwarded-Proto",
    "[page].metrics_from": "可读取 /metrics 的地址或网段，例：192.168.1.20、10.0.0.0/24；本机总可读取",
    "[page].metrics_token_file": "存放口令的文件或 systemd 凭据：以 Authorization: Bearer 发送该口令者可读取 /metrics",
    "[page].refresh_seconds": "打开的网页每隔多少秒更新一次数值",
    "[dustfall].target": "镇级目标:月均降尘量低于此值,t/(km²·30d)",
    "[[point]].code": "短代码,站内唯一",
    "[[point]].name": "点位在界面中的名称",
    "[[point]].st": "HJ 212 系统编码,如 21 地表水、22 环境空气、39 工地扬尘",
    "[[point]].use": "小时和日数据的有效性规则;留空则按 st",
    "[[point]].reference_oxygen": "烟气基准氧含量,%;在实测值旁给出折算值",
    "[[point]].water": "地表水类型:湖库 lake 的分类不同,农村 rural 另有黑臭判定指南",
    "[[point]].depth_cm": "水深,cm;浅水按水深判定透明度",
    "[[point]].longitude": "东经,度",
    "[[point]].latitude": "北纬,度",
    "[[point]].closed": "该点位停止监测的时间,如 2026-11-30T10:00;历史数据照旧保存",
    "[[point]].moved_from": "仪器迁来之前所在的(已关闭的)点位",
    "[[collector]].name": "集尘缸的名称",
    "[[collector]].device": "称量它的仪器(collector_mass)",
    "[[collector]].diameter_cm": "缸口内径,cm",
    "[[collector]].rain": "计雨量的仪器;没有时只能凭增重判断降雨",
    "[[collector]].temperature": "旁边测量 air_temperature 的仪器",
    "[[collector]].events_only": "天平不是电磁力平衡式时填 true",
    "[[collector]].dry_hours": "雨后这么多小时内的称量不计",
    "[[collector]].celsius": "超出此温度范围的称量不计,°C",
    "[[collector]].band_kelvin": "与去皮时温度相差超过此值的称量不计",
    "[[collector]].drift_mg": "传感器在其载荷下的温度漂移,mg/K",
    "[[bus]].name": "线路在日志和界面中的名称",
    "[[bus]].port": "设备文件,最好用 /dev/serial/by-path 链接;Modbus TCP 写 tcp://地址:502,串口服务器写 rtu+tcp://地址:端口",
    "[[bus]].baudrate": "bit/s(波特率)",
    "[[bus]].parity": "无校验、偶校验或奇校验",
    "[[bus]].stopbits": "停止位",
    "[[bus]].gap_ms": "每次轮询前的静默时间,毫秒;不填则按仪器配置文件",
    "[[bus]].rs485": "收发方向由谁切换:适配器(hardware)或串口驱动(kernel)",
    "[[input]].name": "在事件和界面中的名称;输入、输出、设备之间不得重名",
    "[[input]].kind": "雨量 rain、脉冲 pulse、门 door、市电 mains、液位 level、维护开关 maintenance 或触点 contact",
    "[[input]].pin": "GPIO 编号(不是排针的脚号);不用引脚时写 module 和 channel",
    "[[input]].module": "所接模块的名称:driver 为 \"dio\" 的 [[bus.device]],代替引脚",
    "[[input]].channel": "在该模块上的编号,第一路为 1",
    "[[input]].pull": "板上自带电阻:上拉 up、下拉 down 或不用 none;GPIO 2 和 3 始终上拉",
    "[[input]].active": "哪种电平计数,或表示该类输入所指的状态",
    "[[input]].point": "计数所属点位的代码",
    "[[input]].poll_seconds": "每隔多少秒读一次计数",
    "[[input]].bounce_seconds": "电平须保持多久才算数;更短的视为抖动",
    "[[input]].dead_seconds": "距上一个脉冲这么近的脉冲不计",
    "[[input]].mm_per_tip": "每翻一斗的雨量,mm:0.1、0.2、0.254、0.2794 或 0.5",
    "[[input]].parameter": "计的是什么:须为累计量或求和量",
    "[[input]].per_pulse": "每个脉冲代表多少,按因子表的单位",
    "[[input]].affects": "哪些点位的读数在此期间带上这一原因;标记不变",
    "[[input]].equipment": "在平台治理设施中的名称,如 SB1;每次变化都留记录",
    "[[input]].equipment_point": "哪个点位的平台收到它;留空为 affects 的第一个,否则为唯一的点位",
    "[[input]].covers_point": "维护期间数据标记 M 的点位;点位和设备都不写则为所有点位",
    "[[input]].covers_device": "维护期间数据标记 M 的设备,而不是整个点位",
    "[[input]].person": "为此开关标记的数据负责的人;留空则有人签名后才标记",
    "[[input]].longest_hours": "无论开关状态,到此时长自动结束",
    "[[input]].release_seconds": "开关断开这么久后才结束:留给数据稳定",
    "[[output]].name": "在事件和界面中的名称;输入、输出、设备之间不得重名",
    "[[output]].kind": "继电器 relay、灯 lamp 或蜂鸣器 buzzer",
    "[[output]].pin": "GPIO 编号(不是排针的脚号);不用引脚时写 module 和 channel",
    "[[output]].module": "所接模块的名称:driver 为 \"dio\" 的 [[bus.device]],代替引脚",
    "[[output]].channel": "在该模块上的编号,第一路为 1",
    "[[output]].active_high": "低电平吸合的继电器板填 false",
    "[[output]].minimum_on_seconds": "规则不会更早关断它",
    "[[output]].minimum_off_seconds": "关断后多久之内不再接通",
    "[[output]].maximum_on_seconds": "无论谁要求,接通这么久后必关断",
    "[[output]].affects": "哪些点位的读数在此期间带上这一原因;标记不变",
    "[[output]].affects_seconds_after": "关断后读数还带这一原因多久",
    "[[output]].equipment": "在平台治理设施中的名称,如 SB1;每次变化都留记录",
    "[[output]].equipment_point": "哪个点位的平台收到它;留空为 affects 的第一个,否则为唯一的点位",
    "[[output]].blink_seconds": "亮、灭各这么久;0 为常亮",
    "[[rule]].name": "在事件和界面中的名称",
    "[[rule]].kind": "喷淋 spray、留样 sample 或信号 signal",
    "[[rule]].output": "它控制的输出的名称",
    "[[rule]].sampler": "由哪个采样器留样,代替输出;此时跟随报警",
    "[[rule]].point": "所看数值的点位",
    "[[rule]].parameter": "所看的因子",
    "[[rule]].start": "启动值;大于停止值为“过高”,小于则为“过低”",
    "[[rule]].stop": "停止值",
    "[[rule]].average_seconds": "取多长时间的均值;0 为最新值",
    "[[rule]].start_after_seconds": "越过启动值须持续多久",
    "[[rule]].stale_seconds": "更旧的数值视为没有;留空为三个轮询周期,至少 60",
    "[[rule]].hours": "允许启动的时段,如 06:00-22:00;留空为全天",
    "[[rule]].minimum_run_seconds": "每次至少运行这么久",
    "[[rule]].cool_down_seconds": "两次之间至少间隔这么久",
    "[[rule]].daily_maximum_seconds": "每天最多运行这么久",
    "[[rule]].frost_below": "气温 air_temperature 不高于此值时不启动,°C",
    "[[rule]].rain_hours": "雨后这么久之内不启动",
    "[[rule]].wind_above": "风速 wind_speed 高于此值时不启动,m/s",
    "[[rule]].weather_point": "气温、降雨和风速取自哪个点位;留空为本规则的点位",
    "[[rule]].pulse_seconds": "脉冲长度;多数采样器要 0.5 至 1 秒",
    "[[rule]].bottles": "采样器的瓶数;用完后等待 station output emptied",
    "[[rule]].acknowledge": "采样器装满一瓶后闭合的输入",
    "[[rule]].acknowledge_seconds": "等待该信号的最长时间",
    "[[rule]].full": "表示所有瓶都已装满的输入",
    "[[rule]].fault": "表示采样器故障的输入",
    "[[rule]].alarm": "不看数值,而跟随这项报警:[[alarm]]、[[pair]]、[[dry_flow]] 或 [[permit]]",
    "[[rule]].from_pre_alarm": "填 true 则预警时也动作",
    "[[rule]].input": "不看数值,而跟随这个输入",
}


def keys(language: str) -> Iterator[str]:
    """The configuration's keys as a Markdown table."""
    yield "| 表 | 键 | 默认 | 含义 |" if language == "zh" else "| table | key | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, cls in TABLES.items():
        for one in fields(cls):
            if one.name == "device":
                continue
            required = one.default is MISSING and one.default_factory is MISSING
            default = REQUIRED[language] if required else _shown(one.default)
            text = CHINESE[f"[{name}].{one.name}"] if language == "zh" else one.metadata["text"]
            yield f"| `[{name}]` | `{one.name}` | {default} | {text}{_bounds(one)} |"


def wired_keys(language: str) -> Iterator[str]:
    """The keys of inputs, outputs and rules as a Markdown table; a key of one kind names it."""
    yield "| 表 | 键 | 默认 | 含义 |" if language == "zh" else "| table | key | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for table, kinds in WIRED.items():
        classes = {kind: resolve(target) for kind, target in kinds.items()}
        found: dict[str, dict[str, Any]] = {}
        for kind, cls in classes.items():
            for one in fields(cls):
                found.setdefault(one.name, {})[kind] = one
        for key, ones in found.items():
            first = next(iter(ones.values()))
            text = CHINESE[f"[[{table}]].{key}"] if language == "zh" else first.metadata["text"]
            comma, stop = (";", ",") if language == "zh" else ("; ", ", ")
            only = "" if len(ones) == len(classes) else f" [{stop.join(ones)}]"
            default = _defaults(ones, language, comma, stop)
            yield f"| `[[{table}]]` | `{key}` | {default} | {text}{_limits(ones)}{only} |"


def _defaults(ones: Mapping[str, Any], language: str, comma: str, stop: str) -> str:
    """The default of each kind, or the one they share."""
    shown: dict[str, list[str]] = {}
    for kind, one in ones.items():
        required = one.default is MISSING and one.default_factory is MISSING
        shown.setdefault(REQUIRED[language] if required else _shown(one.default), []).append(kind)
    if len(shown) == 1:
        return next(iter(shown))
    return comma.join(f"{default} {stop.join(kinds)}" for default, kinds in shown.items())


def _limits(ones: Mapping[str, Any]) -> str:
    """The bounds of all kinds, or of each where they differ."""
    bounds: dict[str, list[str]] = {}
    for kind, one in ones.items():
        bounds.setdefault(_bounds(one), []).append(kind)
    if len(bounds) == 1:
        return next(iter(bounds))
    return " (" + "; ".join(f"{', '.join(kinds)} {text.strip(' ()')}" for text, kinds in bounds.items()) + ")"


def device_keys() -> Iterator[str]:
    """The keys of an instrument as a Markdown table."""
    yield "| key of `[[bus.device]]` | default | meaning |"
    yield "| --- | --- | --- |"
    yield from _key_rows(fields(ModbusSettings))


def own_keys(driver: str, settings: type[DeviceSettings]) -> Iterator[str]:
    """The keys an instrument of *driver* has beside those of every instrument."""
    common = {one.name for one in fields(DeviceSettings)}
    yield f'| key of `[[bus.device]]` with `driver = "{driver}"` | default | meaning |'
    yield "| --- | --- | --- |"
    yield from _key_rows(one for one in fields(settings) if one.name not in common)


def table_keys(table: str, settings: type[Any]) -> Iterator[str]:
    """The keys of one kind of table."""
    brackets = f"[{table}]" if table in ("city", "supply", "position") else f"[[{table}]]"
    brackets = f"[{table}]" if table in ("city", "modem", "supply", "position", "tunnel") else f"[[{table}]]"
    yield f"| key of `{brackets}` | default | meaning |"
    yield "| --- | --- | --- |"
    yield from _key_rows(fields(settings))


def inline_keys(settings: type[Any]) -> Iterator[str]:
    """The keys of an inline table."""
    yield "| key | default | meaning |"
    yield "| --- | --- | --- |"
    yield from _key_rows(fields(settings))


def streams() -> Iterator[str]:
    """The stream instruments as a Markdown table."""
    yield "| profile | instrument | parameters | serial | a record | grade |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, form in FORMATS.items():
        measured = [f"`{f.parameter}`" for f in form.fields if f.parameter and f.parameter not in form.optional]
        if form.variants:
            measured.insert(0, f"variant {' or '.join(f'`{v}`' for v in form.variants)}")
        measured += [f"`{parameter}` if asked for" for parameter in form.optional]
        pace = "when asked" if form.ask else f"every {form.every_seconds:g} s"
        serial = f"{form.baudrate} 8{form.parity}{form.stopbits}"
        title = f"{form.maker} {form.title}"
        yield f"| `{name}` | {title} | {', '.join(measured)} | {serial} | {pace} | {form.grade}. {form.source} |"


def _key_rows(ones: Iterable[Any]) -> Iterator[str]:
    for one in ones:
        required = one.default is MISSING and one.default_factory is MISSING
        default = REQUIRED["en"] if required else _shown(one.default)
        yield f"| `{one.name}` | {default} | {one.metadata['text']}{_bounds(one)} |"


def decode_faults() -> Iterator[str]:
    """What `station decode` calls what is wrong, as a Markdown table."""
    yield "| fault | what it says |"
    yield "| --- | --- |"
    for name, text in FAULTS.items():
        yield f"| `{name}` | {text} |"


def decode_notes() -> Iterator[str]:
    """What `station decode` says of a sound exchange whose registers are bare numbers, as a Markdown table."""
    yield "| note | what it says |"
    yield "| --- | --- |"
    for name, text in NOTES.items():
        yield f"| `{name}` | {text} |"


def shipped() -> list[Profile]:
    """The profiles that ship, by name."""
    return [load(name) for name in sorted(path.stem for path in SHIPPED.glob("*.toml"))]


def profiles() -> Iterator[str]:
    """The profiles that ship as a Markdown table."""
    yield "| profile | instrument | parameters | serial | grade |"
    yield "| --- | --- | --- | --- | --- |"
    for one in shipped():
        layouts = (one, *one.variants)
        measured = dict.fromkeys(r.parameter for p in layouts for r in p.registers if r.is_number)
        variants = [f"`{v.name}`{' (default)' * (v.name == one.default_variant)}" for v in one.variants]
        values = ", ".join(f"`{parameter}`" for parameter in measured)
        template = " (template)" * bool(one.uncertain)
        choice = f"; variants {', '.join(variants)}" if variants else ""
        yield f"| `{one.name}` | {one.maker} {one.title}{template} | {values}{choice} | {_serial(one)} | {one.grade} |"


def profiles_in_chinese() -> Iterator[str]:
    """The profiles that ship as a Markdown table for technicians: what each is called, and how sure its map is."""
    yield "| 配置文件 | 仪器 | 出厂设置 | 等级 |"
    yield "| --- | --- | --- | --- |"
    for one in shipped():
        title = (one.title_zh or one.title) + "(模板)" * bool(one.uncertain)
        yield f"| `{one.name}` | {title} | {_serial(one)},地址 {one.unit_id} | {one.grade} |"


def line_settings(language: str) -> Iterator[str]:
    """How the instruments come, by what a line must be set to, as a Markdown table."""
    zh = language == "zh"
    yield "| 出厂设置 | 仪器,各带地址 |" if zh else "| as it comes | instruments, each with its address |"
    yield "| --- | --- |"
    lines: dict[tuple[int, str], list[str]] = {}
    for one in shipped():
        lines.setdefault((one.baudrate, _serial(one)), []).append(f"`{one.name}` {one.unit_id}")
    for name, form in FORMATS.items():
        lines.setdefault((form.baudrate, _serial(form)), []).append(f"`{name}` {'独占' if zh else 'alone'}")
    for (_, serial), names in sorted(lines.items()):
        yield f"| {serial} | {('、' if zh else ', ').join(names)} |"


def _serial(profile: Profile | Format) -> str:
    return f"{profile.baudrate} 8{profile.parity}{profile.stopbits}"


def recipes(language: str) -> Iterator[str]:
    """The recipes as a Markdown table."""
    yield (
        "| 方案 | 用于 | 任务 | 联网对象 | 平台规约 |"
        if language == "zh"
        else "| recipe | for | duty | partner | dialect |"
    )
    yield "| --- | --- | --- | --- | --- |"
    for name in recipe.names():
        about = recipe.recipe(name, language).about
        yield f"| `{name}` | " + " | ".join(about[key] for key in recipe.ABOUT) + " |"


def profile_keys(table: str) -> Iterator[str]:
    """The keys of one table of a profile file as a Markdown table."""
    yield "| key |  | default |"
    yield "| --- | --- | --- |"
    for name, key in KEYS[table].items():
        if key.required:
            default = REQUIRED["en"]
        elif key.default in (None, "", (), {}):
            default = ""
        elif isinstance(key.default, bool):
            default = str(key.default).lower()
        else:
            default = hex(key.default) if key.default == 0xFFFFFFFF else str(key.default)
        words = [choice for choice in key.choices if choice != ""]
        choices = f" ({', '.join(map(str, words))})" if words and not all(f"{w} " in key.text for w in words) else ""
        yield f"| `{name}` | {key.text}{choices} | {default} |"


def advice() -> Iterator[str]:
    """What `station bus doctor` may say, as a Markdown table."""
    yield "| advice | what it means |"
    yield "| --- | --- |"
    for key, text in ADVICE.items():
        yield f"| `{key}` | {text} |"


def advice_in_chinese() -> Iterator[str]:
    """What the doctor may advise, in its own Chinese words, as a Markdown table."""
    yield "| 代号 | 建议 |"
    yield "| --- | --- |"
    yield from (f"| `{key}` | {i18n.texts('zh')[f'advice.{key}']} |" for key in ADVICE)


def _shown(value: Any) -> str:
    if value in (None, "", ()) or value is MISSING:
        return ""
    if isinstance(value, bool | tuple):
        return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`[{', '.join(f'{v:g}' for v in value)}]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:g}`"


def _bounds(one: Any) -> str:
    low, high, choices = (one.metadata.get(k) for k in ("low", "high", "choices"))
    between = f" ({low:g} … {high:g})" if low is not None and high is not None else ""
    return f"{between}: {', '.join(map(str, choices))}" if choices else between


def commands(language: str) -> Iterator[str]:
    """Every command with its options as a Markdown table."""
    from station.cli import cli

    before = i18n.language()
    i18n.use(language)
    try:
        yield "| 命令 | 作用 | 选项 |" if language == "zh" else "| command | what it does | options |"
        yield "| --- | --- | --- |"
        yield from _commands(cli, "station")
    finally:
        i18n.use(before)


def _commands(group: click.Group, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")
            continue
        arguments = "".join(f" {p.human_readable_name}" for p in command.params if isinstance(p, click.Argument))
        words = path if name == getattr(group, "fallback", None) else f"{path} {name}"
        options = [p for p in command.params if isinstance(p, Option) and "--lang" not in p.opts]
        named = " ".join(f"`{p.opts[0]}`" for p in options)
        yield f"| `{words}{arguments}` | {i18n.t(str(command.help))} | {named} |"


def blocks(file: str) -> dict[str, str]:
    """Every generated block of *file* by its name."""
    if file.startswith("hardware/"):
        return {"line-settings": "\n".join(line_settings("zh" if ".zh." in file else "en"))}
    if file == "station/README.md":
        return {f"{table}-keys": "\n".join(table_keys(table, resolve(target))) for table, target in WATCHED.items()}
    if file == "drivers/README.zh.md":
        return {"advice": "\n".join(advice_in_chinese()), "profiles": "\n".join(profiles_in_chinese())}
    if file == "drivers/README.md":
        made = {
            "device-keys": device_keys(),
            "stream-keys": own_keys("stream", StreamSettings),
            "analyser-keys": own_keys("analyser", AnalyserSettings),
            "place-keys": inline_keys(PlaceSettings),
            "command-keys": inline_keys(CommandSettings),
            "bam-keys": own_keys("bam1020", BamSettings),
            "meter-keys": own_keys("dlt645", MeterSettings),
            "sender-keys": own_keys("hj212", SenderSettings),
            "current-keys": own_keys("current", CurrentSettings),
            "dio-keys": own_keys("dio", DioSettings),
            "channel-keys": inline_keys(ChannelSettings),
            "decode-faults": decode_faults(),
            "decode-notes": decode_notes(),
            "advice": advice(),
            "profiles": profiles(),
            "streams": streams(),
        }
        made |= {f"profile-{table}": profile_keys(table) for table in KEYS}
        return {name: "\n".join(rows) for name, rows in made.items()}
    language = "zh" if ".zh." in file else "en"
    return {
        "keys": "\n".join([*keys(language), "", LINKS[file]]),
        "wired-keys": "\n".join(wired_keys(language)),
        "commands": "\n".join(commands(language)),
        "recipes": "\n".join(recipes(language)),
    }


def filled(file: str) -> str:
    """*file* with its generated blocks as they ought to be."""
    text = (ROOT / file).read_text(encoding="utf-8")
    for name, block in blocks(file).items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text, count = re.subn(pattern, lambda m, block=block: f"{m[1]}{block}\n{m[2]}", text, flags=re.S)
        if count != 1:
            raise ValueError(f"{file}: needs one block {name}")
    return text


if __name__ == "__main__":
    for file in FILES:
        (ROOT / file).write_text(filled(file), encoding="utf-8")
