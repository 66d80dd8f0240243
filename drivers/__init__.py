"""Instruments and pins: bytes and levels in, samples out.  The registry names what a configuration may ask for."""

DRIVERS = {
    "modbus": "drivers.modbus:ModbusDevice",
    "analyser": "drivers.analyser:Analyser",
    "stream": "drivers.stream:StreamDevice",
    "bam1020": "drivers.bam1020:Bam1020",
    "dlt645": "drivers.dlt645:Meter",
    "hj212": "station.receiving:Sender",
    "current": "drivers.current:CurrentModule",
    "dio": "drivers.dio:DioModule",
}

# What a [[input]] or [[output]] table may be, by its kind.
INPUTS = {
    "rain": "drivers.gpio:RainSettings",
    "pulse": "drivers.gpio:PulseSettings",
    "door": "drivers.gpio:DoorSettings",
    "mains": "drivers.gpio:MainsSettings",
    "level": "drivers.gpio:LevelSettings",
    "maintenance": "drivers.gpio:MaintenanceSettings",
    "contact": "drivers.gpio:ContactSettings",
}
OUTPUTS = {
    "relay": "drivers.gpio:RelaySettings",
    "lamp": "drivers.gpio:LampSettings",
    "buzzer": "drivers.gpio:LampSettings",
}

# What a [[screen]] may be, by its protocol; a class from elsewhere is named there as "module:Class".
SCREENS = {
    "text": "drivers.screens:TextScreen",
    "onbon": "drivers.onbon:OnbonScreen",
}
