import { Counter, type Registry } from 'prom-client';
import { readGauge } from './metrics.ts';

export interface MqttStats {
  connects: number;
  disconnects: number;
  messages: number;
  published: number;
  busy: number;
  handlerErrors: number;
  subscriptionsRefused: number;
}

export const createMqttStats = (): MqttStats => ({
  connects: 0,
  disconnects: 0,
  messages: 0,
  published: 0,
  busy: 0,
  handlerErrors: 0,
  subscriptionsRefused: 0,
});

export interface MqttMetrics {
  track(stats: Readonly<MqttStats>, now: { connected(): boolean; waiting(): number }): void;
}

const TOTALS = {
  connects: ['brink_mqtt_connects_total', 'Connections to the broker'],
  disconnects: ['brink_mqtt_disconnects_total', 'Connections to the broker that ended'],
  messages: ['brink_mqtt_messages_received_total', 'Messages received'],
  published: ['brink_mqtt_messages_published_total', 'Messages published; at QoS 1 acknowledged'],
  busy: ['brink_mqtt_busy_total', 'Messages refused because the queue to the broker was full'],
  handlerErrors: ['brink_mqtt_handler_errors_total', 'Messages whose handler failed'],
  subscriptionsRefused: ['brink_mqtt_subscriptions_refused_total', 'Subscriptions that the broker refused'],
} as const satisfies Record<keyof MqttStats, readonly [string, string]>;

/** Read when they are collected; nothing per message goes through the metrics library. One per registry. */
export function createMqttMetrics(registry: Registry): MqttMetrics {
  const registers = [registry];
  const connections: { stats: Readonly<MqttStats>; connected(): boolean; waiting(): number }[] = [];
  const sum = (read: (connection: (typeof connections)[number]) => number) =>
    connections.reduce((total, c) => total + read(c), 0);

  for (const [key, [name, help]] of Object.entries(TOTALS)) {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(sum(({ stats }) => stats[key as keyof MqttStats]));
      },
    });
  }
  const gauge = (name: string, help: string, read: (connection: (typeof connections)[number]) => number) =>
    readGauge(registry, name, help, () => sum(read));
  gauge('brink_mqtt_connected', 'Connections to the broker that are up', (c) => (c.connected() ? 1 : 0));
  gauge('brink_mqtt_waiting', 'Messages that wait to go out or to be acknowledged', (c) => c.waiting());

  return { track: (stats, now) => void connections.push({ stats, ...now }) };
}
