import type { Logger } from './logger.ts';
import type { Mqtt } from './mqtt.ts';

const VERSION_TOPIC = '$SYS/broker/version';
/** The first Mosquitto that holds to the receive-maximum of its clients, and the first without CVE-2023-28366 (memory). */
const MOSQUITTO_MIN = [2, 0, 13];
const MOSQUITTO_SAFE = '2.0.16';

/** @param text as Mosquitto says it: `mosquitto version 2.0.22` @returns what is wrong with it, if anything is */
export function brokerVersionProblem(text: string): string | undefined {
  const numbers = /^mosquitto version (\d+)\.(\d+)\.(\d+)/.exec(text)?.slice(1).map(Number);
  if (numbers === undefined) return undefined;
  const place = MOSQUITTO_MIN.findIndex((min, at) => numbers[at] !== min);
  if (place < 0 || (numbers[place] as number) > (MOSQUITTO_MIN[place] as number)) return undefined;
  return (
    `Mosquitto ${numbers.join('.')} ignores receive-maximum, so that a burst of frames may all be on its way at once and the connection ` +
    `miss its keepalive; expected ${MOSQUITTO_MIN.join('.')} or newer, ${MOSQUITTO_SAFE} for its security fixes`
  );
}

/**
 * Says at start, and whenever it becomes another one, where the broker is known not to do what Brink relies on. Asked over MQTT 5 only:
 * over 3.1.1 there is no receive-maximum to ignore. A broker that does not tell its version is taken as it is.
 */
export function watchBrokerVersion(mqtt: Mqtt, d: { logger: Logger }): void {
  let asked = false;
  let last: string | undefined;
  mqtt.onConnect(() => {
    if (asked || mqtt.protocolVersion !== 5) return;
    asked = true;
    mqtt.subscribe(VERSION_TOPIC, { qos: 0, optional: true }, ({ payload }) => {
      const version = payload.toString('utf8').slice(0, 100);
      if (version === last) return;
      last = version;
      const problem = brokerVersionProblem(version);
      if (problem === undefined) d.logger.info({ version }, 'broker');
      else d.logger.warn({ version, problem }, 'the broker is too old');
    });
  });
}
