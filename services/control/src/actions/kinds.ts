import { type ActionConfig, BrinkError, type Command, parseUnitId, type Topics } from '@brink/protocol';
import { isTopicAllowed } from '@brink/rules';
import type { Mqtt } from '@brink/runtime';
import type { LeasedAction } from '../ledger/records.ts';
import { type HookContext, sendHook } from './hooks.ts';

// How each kind of action is sent, and whether someone will say that it was done.

export interface SendContext extends HookContext {
  readonly mqtt: Pick<Mqtt, 'publish'>;
  readonly topics: Topics;
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

/** How it left. `acked`: the answer was that it was taken. */
export type Sent = { readonly result: 'sent' } | { readonly result: 'acked'; readonly status: number };

/** Resolves when it left. @throws BrinkError; a retryable one is tried again until it expires */
type Send<Config> = (action: LeasedAction, config: Config, context: SendContext) => Promise<void>;

type ConfigOf<K extends LeasedAction['kind']> = Extract<ActionConfig, Record<K, unknown>>[K];

const command: Send<ConfigOf<'command'>> = async (action, config, { mqtt, topics, clock }) => {
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
};

const mqtt: Send<ConfigOf<'mqtt'>> = async (_action, config, context) => {
  // Checked when the configuration was activated; the list may have changed since.
  if (!isTopicAllowed(config.topic, context.mqttAllow)) {
    throw new BrinkError('E_FORBIDDEN', `site.mqtt_allow has no prefix of "${config.topic}"`);
  }
  const payload = typeof config.payload === 'string' ? config.payload : JSON.stringify(config.payload);
  await context.mqtt.publish(config.topic, payload, { qos: 1, retain: config.retain });
};

const record: Send<ConfigOf<'record'>> = async (
  { id, decision, at_ms: atMs },
  { before_ms: beforeMs, after_ms: afterMs },
  context,
) => {
  if (context.record === undefined) throw new BrinkError('E_UNSUPPORTED', 'nobody here records');
  const { device, stream } = parseUnitId(decision);
  await context.record({ id, decision, device, stream, atMs, beforeMs, afterMs });
};

/** Throws as `sendHook` does, and E_BROKER, E_FORBIDDEN, E_TIMEOUT. */
export async function sendAction(action: LeasedAction, context: SendContext): Promise<Sent> {
  const { config } = action;
  if ('webhook' in config || 'notify' in config) {
    return { result: 'acked', status: await sendHook(action, config, context) };
  }
  if ('command' in config) await command(action, config.command, context);
  else if ('mqtt' in config) await mqtt(action, config.mqtt, context);
  else await record(action, config.record, context);
  return { result: 'sent' };
}

/** Whether the device will say that it was done: sent again until it does. */
export const awaitsAck = ({ config }: LeasedAction): boolean =>
  'command' in config && config.command.ack === 'required';
