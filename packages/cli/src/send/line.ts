import { randomInt } from 'node:crypto';
import { createDevice, type Device, type OutboxConfig } from '@brink/device';
import { BrinkError } from '@brink/protocol';
import { secretFrom } from '@brink/runtime';
import { type Context, filled } from '../verb.ts';

export interface BrokerOptions {
  mqttUrl?: string;
  username?: string;
  passwordFile?: string;
}

const CONNECT_MS_MAX = 5000;

/** The device in whose name frames are sent, not yet started. @param o.bridge it is the device: its status is published */
export function deviceFor(
  { env }: Pick<Context, 'env'>,
  options: BrokerOptions,
  o: { device: string; bridge?: boolean; outbox?: OutboxConfig },
): Device {
  const password = secretFrom(options.passwordFile ?? filled(env['BRINK_MQTT_PASSWORD_FILE']));
  const username = options.username ?? filled(env['BRINK_MQTT_USERNAME']);
  return createDevice({
    url: options.mqttUrl ?? filled(env['BRINK_MQTT_URL']) ?? 'mqtt://127.0.0.1:1883',
    name: o.device,
    root: filled(env['BRINK_TOPIC_ROOT']) ?? 'brink',
    // A device's client id is its user name. Without credentials any will do, and the device itself may be connected too.
    clientId: username ?? `brink-send-${randomInt(2 ** 32).toString(36)}`,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(o.outbox === undefined ? {} : { outbox: o.outbox }),
    sendOnly: o.bridge !== true,
  });
}

/** @throws BrinkError E_BROKER with what the broker, or the network, said last */
export async function connect(device: Device, signal: AbortSignal): Promise<void> {
  try {
    await device.start(AbortSignal.any([signal, AbortSignal.timeout(CONNECT_MS_MAX)]));
  } catch (error) {
    await device.stop().catch(() => {});
    if (signal.aborted) throw new BrinkError('E_CANCELLED', 'stopped', { cause: error });
    throw error;
  }
}
