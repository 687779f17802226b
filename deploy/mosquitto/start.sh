#!/bin/sh
# Starts Mosquitto with the dynamic-security plugin, wherever this image keeps it: Debian, Alpine and the public image differ.
set -eu
plugin=${MOSQUITTO_DYNSEC_PLUGIN:-$(find /usr/lib /usr/lib64 /usr/local/lib /lib /mosquitto/lib /opt \
  -name mosquitto_dynamic_security.so 2>/dev/null | head -n 1)}
if [ -z "$plugin" ] || [ ! -r "$plugin" ]; then
  echo "mosquitto: no mosquitto_dynamic_security.so in /usr/lib, /usr/lib64, /usr/local/lib, /lib, /mosquitto/lib, /opt." \
    "Use an image of Mosquitto 2.0.13 or newer that has it, or name its path in MOSQUITTO_DYNSEC_PLUGIN." >&2
  exit 78
fi
if [ ! -r /mosquitto/data/dynamic-security.json ]; then
  echo "mosquitto: /mosquitto/data/dynamic-security.json is not there or not readable; \`docker compose run --rm init\` makes it." >&2
  exit 78
fi
umask 077
sed -e "s|@PLUGIN@|$plugin|" -e "s|@PACKET_BYTES_MAX@|${BRINK_MQTT_PACKET_BYTES_MAX:-4456448}|" \
  /mosquitto/config/mosquitto.conf >/tmp/mosquitto.conf
exec mosquitto -c /tmp/mosquitto.conf
