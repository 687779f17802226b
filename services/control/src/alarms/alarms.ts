import { type Configuration, underName } from '@brink/protocol';
import type { Clock, Logger, Mqtt, Part } from '@brink/runtime';
import type { HttpOut } from '../actions/http-out.ts';
import type { Secrets } from '../actions/secrets.ts';
import type { LedgerReads } from '../ledger/records.ts';
import type { Metrics } from '../metrics.ts';
import { createHeartbeat } from './heartbeat.ts';
import { createWatch } from './watch.ts';

export interface AlarmsDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly mqtt: Mqtt;
  readonly read: () => Pick<LedgerReads, 'oldestOpenAction'>;
  readonly http: HttpOut;
  readonly secrets: Secrets;
  readonly configuration: () => Configuration | undefined;
  /** What control lacks, and what the other services say that they lack. */
  readonly problems: () => readonly string[];
}

const DROPPED_TOPIC = '$SYS/broker/publish/messages/dropped';

/** What tells of Brink itself: figures that nobody counts as they happen, and the heartbeat to an outside monitor. */
export function createAlarms(d: AlarmsDeps): Part {
  const { clock, logger, metrics, http, secrets } = d;
  const target = (name: string) => underName(d.configuration()?.targets, name);
  const heartbeat = createHeartbeat({
    ...{ clock, logger, problems: d.problems, hooks: { clock, http, secrets, target } },
    site: () => d.configuration()?.site,
    counted: (result) => metrics.heartbeats.labels(result).inc(),
  });
  const watch = createWatch({ clock, logger, metrics, read: d.read, looked: heartbeat.look });
  watchDropped(d.mqtt, metrics);
  return {
    async start(signal) {
      await watch.start(signal);
      await heartbeat.start(signal);
    },
    async stop() {
      await heartbeat.stop();
      await watch.stop();
    },
  };
}

/** Over MQTT 5 only: the embedded broker tells nobody of `$SYS` and counts in metrics of its own. */
function watchDropped(mqtt: Mqtt, metrics: Metrics): void {
  let asked = false;
  mqtt.onConnect(() => {
    if (asked || mqtt.protocolVersion !== 5) return;
    asked = true;
    mqtt.subscribe(DROPPED_TOPIC, { qos: 0, optional: true }, ({ payload }) => {
      const dropped = Number(payload.toString('utf8').slice(0, 20));
      if (Number.isFinite(dropped)) metrics.brokerDropped.set(dropped);
    });
  });
}
