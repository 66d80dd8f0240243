"""Instruments and pins: bytes and levels in, samples out.  The registry names what a configuration may ask for."""

DRIVERS = {
    "modbus": "drivers.modbus:ModbusDevice",
    "stream": "drivers.stream:StreamDevice",
    "bam1020": "drivers.bam1020:Bam1020",
}
