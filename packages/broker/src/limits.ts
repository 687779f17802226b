import type { SessionLimits } from './sessions.ts';

export interface BrokerLimits extends SessionLimits {
  connectionsMax: number;
  /** From the first byte of a connection to the last of its CONNECT. */
  connectTimeoutMs: number;
  connectBytesMax: number;
  controlBytesMax: number;
  /** Of all packets together that have begun and not ended. */
  pendingBytesMax: number;
  /** A longer one, or none (0), is refused: a connection that broke must be noticed. */
  keepaliveSMax: number;
  subscriptionsMax: number;
  topicLevelsMax: number;
  /** QoS 2 messages of one client that wait for their PUBREL. */
  qos2Max: number;
  /** What waits for a subscriber that does not read, before messages for it are dropped or, for a service, held back. */
  subscriberBytesMax: number;
  /** A subscriber that does not read for this long is disconnected. */
  drainTimeoutMs: number;
  retainedMessagesMax: number;
  retainedBytesMax: number;
}

/** What one box takes. Each has a metric that moves when it is hit (metrics.ts). */
export const DEFAULT_LIMITS: BrokerLimits = {
  connectionsMax: 1000,
  connectTimeoutMs: 10_000,
  connectBytesMax: 16 * 1024,
  controlBytesMax: 64 * 1024,
  pendingBytesMax: 256 * 1024 * 1024,
  keepaliveSMax: 120,
  subscriptionsMax: 50,
  topicLevelsMax: 8,
  qos2Max: 20,
  subscriberBytesMax: 4 * 1024 * 1024,
  drainTimeoutMs: 10_000,
  sessionsMax: 100,
  sessionExpiryMs: 24 * 3600 * 1000,
  queueMessagesMax: 10_000,
  queueBytesMax: 64 * 1024 * 1024,
  retainedMessagesMax: 10_000,
  retainedBytesMax: 16 * 1024 * 1024,
};
