import type { SessionLimits } from './sessions.ts';

export interface BrokerLimits extends SessionLimits {
  connectionsMax: number;
  /** New connections are taken up this fast; the others wait, each source in its turn. */
  acceptsPerSMax: number;
  /** Wrong passwords of one source before it is refused unheard … */
  wrongPasswordsMax: number;
  /** … for so long. */
  throttleMs: number;
  /** Sources whose wrong passwords are remembered. */
  throttledSourcesMax: number;
  /** From the first byte of a connection to the last of its CONNECT. */
  connectTimeoutMs: number;
  connectBytesMax: number;
  controlBytesMax: number;
  /** Of all packets together that have begun and not ended. */
  pendingBytesMax: number;
  /** A longer one, or none (0), is refused: a connection that broke must be noticed. (Anonymous clients of this box may.) */
  keepaliveSMax: number;
  subscriptionsMax: number;
  /** A SUBSCRIBE with more ends the connection, unread. */
  subscriptionsPerPacketMax: number;
  topicLevelsMax: number;
  /** Messages of one device; beyond it is not read from for a while, so that TCP slows it down and nothing is lost. */
  publishesPerSMax: number;
  /** Payload bytes of one device, likewise. */
  publishBytesPerSMax: number;
  /** QoS 2 messages of one client that wait for their PUBREL. */
  qos2Max: number;
  /** What waits for a subscriber that does not read, before messages for it are dropped or, for a service, held back. */
  subscriberBytesMax: number;
  /** A subscriber that does not read for this long is disconnected. */
  drainTimeoutMs: number;
  /** Likewise a service: shorter, because its senders wait meanwhile and must not miss their keepalive. */
  serviceDrainTimeoutMs: number;
  retainedMessagesMax: number;
  retainedBytesMax: number;
}

/** What one box takes. Each has a metric that moves when it is hit (metrics.ts). */
export const DEFAULT_LIMITS: BrokerLimits = {
  connectionsMax: 1000,
  acceptsPerSMax: 100,
  wrongPasswordsMax: 20,
  throttleMs: 60_000,
  throttledSourcesMax: 10_000,
  connectTimeoutMs: 10_000,
  connectBytesMax: 16 * 1024,
  controlBytesMax: 64 * 1024,
  pendingBytesMax: 256 * 1024 * 1024,
  keepaliveSMax: 120,
  subscriptionsMax: 50,
  subscriptionsPerPacketMax: 200,
  topicLevelsMax: 8,
  publishesPerSMax: 1000,
  publishBytesPerSMax: 16 * 1024 * 1024,
  qos2Max: 20,
  subscriberBytesMax: 4 * 1024 * 1024,
  drainTimeoutMs: 30_000,
  serviceDrainTimeoutMs: 10_000,
  sessionsMax: 100,
  sessionExpiryMs: 24 * 3600 * 1000,
  queueMessagesMax: 10_000,
  queueBytesMax: 64 * 1024 * 1024,
  retainedMessagesMax: 10_000,
  retainedBytesMax: 16 * 1024 * 1024,
};
