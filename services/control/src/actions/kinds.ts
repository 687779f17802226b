import { type ActionConfig, BrinkError, type Command, parseUnitId, type Topics } from '@brink/protocol';
import { isTopicAllowed } from '@brink/rules';
import type { Clock, Mqtt } from '@brink/runtime';
import type { LeasedAction } from '../ledger/records.ts';

// The table of action kinds. Adding one is adding a row: how it is sent, and whether someone will say that it was done.

export interface SendContext {
  readonly mqtt: Pick<Mqtt, 'publish'>;
  readonly topics: Topics;
  readonly clock: Clock;
  /** site.mqtt_allow of the active configuration. */
  readonly mqttAllow: readonly string[];
  /** Asks the gateway that has the stream. @throws BrinkError E_NOT_FOUND where none keeps anything of it; E_UNAVAILABLE */
  readonly record?: ((asked: AskedRecording) => Promise<void>) | undefined;
}

export interface AskedRecording {
  readonly id: string;
  readonly decision: string;
  readonly device: string;
  readonly stream: string;
  readonly atMs: number;
  readonly beforeMs: number;
  readonly afterMs: number;
}

interface ActionKind<Config> {
  /** Resolves when it left: the broker has it. @throws BrinkError; a retryable one is tried again until it expires */
  send(action: LeasedAction, config: Config, context: SendContext): Promise<void>;
  awaitsAck(config: Config): boolean;
}

type ConfigOf<K extends LeasedAction['kind']> = Extract<ActionConfig, Record<K, unknown>>[K];

const command: ActionKind<ConfigOf<'command'>> = {
  async send(action, config, { mqtt, topics, clock }) {
    const remainingMs = Math.floor(action.expires_ms - clock.now());
    if (remainingMs <= 0) throw new BrinkError('E_TIMEOUT', 'it expired before it could be sent');
    const payload: Command = { key: action.id, expires_ms: remainingMs, args: config.args, because: action.decision };
    await mqtt.publish(
      topics.format({ kind: 'command', device: config.device, name: config.name }),
      JSON.stringify(payload),
      {
        qos: 1,
        // Dropped where the broker speaks 3.1.1; nothing depends on them.
        properties: { correlationData: Buffer.from(action.id), messageExpiryInterval: Math.ceil(remainingMs / 1000) },
      },
    );
  },
  awaitsAck: (config) => config.ack === 'required',
};

const mqtt: ActionKind<ConfigOf<'mqtt'>> = {
  async send(_action, config, context) {
    // Checked when the configuration was activated; the list may have changed since.
    if (!isTopicAllowed(config.topic, context.mqttAllow)) {
      throw new BrinkError('E_FORBIDDEN', `site.mqtt_allow has no prefix of "${config.topic}"`);
    }
    const payload = typeof config.payload === 'string' ? config.payload : JSON.stringify(config.payload);
    await context.mqtt.publish(config.topic, payload, { qos: 1, retain: config.retain });
  },
  awaitsAck: () => false,
};

const record: ActionKind<ConfigOf<'record'>> = {
  async send({ id, decision, at_ms: atMs }, { before_ms: beforeMs, after_ms: afterMs }, context) {
    if (context.record === undefined) throw new BrinkError('E_UNSUPPORTED', 'nobody here records');
    const { device, stream } = parseUnitId(decision);
    await context.record({ id, decision, device, stream, atMs, beforeMs, afterMs });
  },
  awaitsAck: () => false,
};

export function sendAction(action: LeasedAction, context: SendContext): Promise<void> {
  const { config } = action;
  if ('command' in config) return command.send(action, config.command, context);
  if ('mqtt' in config) return mqtt.send(action, config.mqtt, context);
  if ('record' in config) return record.send(action, config.record, context);
  throw new BrinkError('E_UNSUPPORTED', `nobody here sends a ${action.kind}`);
}

export function awaitsAck({ config }: LeasedAction): boolean {
  return 'command' in config && command.awaitsAck(config.command);
}
