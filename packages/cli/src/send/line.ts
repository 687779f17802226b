import { randomInt } from 'node:crypto';
import { createDevice, type Device, type OutboxConfig } from '@brink/device';
import { BrinkError } from '@brink/protocol';
import { secretFrom, systemClock, wait } from '@brink/runtime';
import { type Context, filled } from '../verb.ts';

export interface BrokerOptions {
  mqttUrl?: string;
  username?: string;
  passwordFile?: string;
}

const CONNECT_MS_MAX = 5000;
const LOOK_MS = 10;

/**
 * The device in whose name frames are sent, not yet started.
 * @param o.bridge it is the device: its status is published @throws BrinkError E_SETTING
 */
export function deviceFor(
  { env }: Pick<Context, 'env'>,
  options: BrokerOptions,
  o: { device: string; bridge?: boolean; outbox?: OutboxConfig },
): Device {
  const password = secretFrom(options.passwordFile ?? filled(env['BRINK_MQTT_PASSWORD_FILE']));
  const url = options.mqttUrl ?? filled(env['BRINK_MQTT_URL']) ?? 'mqtt://127.0.0.1:1883';
  if (!URL.canParse(url) || !/^(mqtts?|tcp|tls|wss?):$/.test(new URL(url).protocol)) {
    throw new BrinkError('E_SETTING', `"${url}" is no address of a broker; expected mqtt://host:port`);
  }
  const username = options.username ?? filled(env['BRINK_MQTT_USERNAME']);
  return createDevice({
    url,
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

/**
 * As `connect`; but where frames are kept they do not wait for the broker: it goes on as soon as the outbox is open.
 * @returns to be called when all is kept: waits for the broker, and says why there is none
 * @throws BrinkError E_BROKER, and of the outbox E_LOCKED, E_STORAGE_…
 */
export async function beginning(o: {
  device: Device;
  options: { keep?: string };
  context: Pick<Context, 'signal'>;
  note: (text: string) => void;
}): Promise<() => Promise<void>> {
  const { device, note } = o;
  const { signal } = o.context;
  if (o.options.keep === undefined) {
    await connect(device, signal);
    return async () => {};
  }
  let failed: BrinkError | undefined;
  const first = device.start(AbortSignal.any([signal, AbortSignal.timeout(CONNECT_MS_MAX)])).catch((error: unknown) => {
    failed = BrinkError.from(error);
  });
  while (!device.keeps && failed === undefined) await wait(LOOK_MS, systemClock);
  if (!device.keeps && failed !== undefined) {
    await device.stop().catch(() => {});
    throw failed;
  }
  return async () => {
    await first;
    if (failed !== undefined && !device.connected && !signal.aborted) note(`${failed.code}: ${failed.detail}`);
  };
}
