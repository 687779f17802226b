import { Counter, Gauge, type Registry } from '@brink/runtime';

/** Why the broker said no, or closed a connection. */
const REASONS = [
  // before anybody is known
  'connection_limit',
  'connect_timeout',
  'not_connect',
  'malformed',
  'packet_too_large',
  'memory_limit',
  // CONNECT
  'auth_none',
  'auth_failed',
  'auth_throttled',
  'client_id',
  'takeover_blocked',
  'session_foreign',
  'session_limit',
  'keepalive_refused',
  'protocol_version',
  'acl_will',
  // afterwards
  'acl_publish',
  'acl_subscribe',
  'topic_invalid',
  'retained',
  'retained_limit',
  'sub_limit',
  'qos2_window',
  'keepalive_timeout',
  'slow_consumer',
  'taken_over',
  'user_revoked',
] as const;
export type Reason = (typeof REASONS)[number];

export type BrokerMetrics = ReturnType<typeof createMetrics>;

/** Every metric of the broker. */
export function createMetrics(registry: Registry) {
  const registers = [registry];
  const refused = new Counter({
    name: 'brink_broker_refused_total',
    help: 'What the broker refused: connections, packets, publishes, subscriptions',
    labelNames: ['reason'],
    registers,
  });
  // From the start at 0, so that an alarm on an increase sees the first one too.
  for (const reason of REASONS) refused.inc({ reason }, 0);
  return {
    refused,
    connections: new Gauge({ name: 'brink_broker_connections', help: 'Sockets that are open', registers }),
    ended: new Counter({
      name: 'brink_broker_connections_ended_total',
      help: 'Connections that have ended, each once: by a DISCONNECT, lost without one, or by the broker for this reason',
      labelNames: ['how'],
      registers,
    }),
    delayed: new Counter({
      name: 'brink_broker_delayed_total',
      help: 'What had to wait: accept_rate, a new connection; publish_rate, a message of a device over its rate',
      labelNames: ['reason'],
      registers,
    }),
    published: new Counter({
      name: 'brink_broker_published_total',
      help: 'Messages that clients published',
      registers,
    }),
    queued: new Gauge({
      name: 'brink_broker_queued_messages',
      help: 'QoS 1 and 2 messages that wait in stored sessions',
      registers,
    }),
    queuedBytes: new Gauge({
      name: 'brink_broker_queued_bytes',
      help: 'Payload bytes of the messages that wait in stored sessions',
      registers,
    }),
    dropped: new Counter({
      name: 'brink_broker_dropped_total',
      help: 'Messages that were not delivered: queue_full, the queue of a stored session is at its bound; slow_consumer, the subscriber does not read',
      labelNames: ['reason'],
      registers,
    }),
    unheard: new Counter({
      name: 'brink_broker_unheard_total',
      help: 'Messages of operators on topics that look like those of frames, and that nobody hears',
      registers,
    }),
    retained: new Gauge({ name: 'brink_broker_retained_messages', help: 'Retained messages', registers }),
  };
}
