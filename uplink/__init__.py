"""Ways to a platform.  The registry names what a configuration may ask for."""

UPLINKS = {
    "hj212": "uplink.hj212.link:Hj212Uplink",
    "http": "uplink.http.link:HttpUplink",
    "mqtt": "uplink.mqtt.link:MqttUplink",
}
