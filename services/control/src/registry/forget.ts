import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { BrinkError, type ForgottenDevice, type Topics } from '@brink/protocol';
import type { Clock, Logger, Mqtt } from '@brink/runtime';
import type { Gateways } from '../gateways/gateways.ts';
import type { Ledger } from '../ledger/ledger.ts';

/** Folders and files beside the ledger that may hold what somebody wants forgotten; only people take them away. */
const OLD = /^(damaged|replaced|ledger\.db\.v\d+)$/;

/**
 * Everything of a device but its credentials, wherever it is: frames and recordings at the gateways, rows of the ledger, copies of
 * it, messages that the broker retains. What cannot be reached is said.
 */
export function createForgetDevice(
  o: { readonly topics: Topics; readonly dataDir: string },
  d: {
    readonly clock: Clock;
    readonly logger: Logger;
    readonly ledger: Pick<Ledger, 'forget' | 'forgot' | 'copies' | 'copy' | 'look'>;
    readonly gateways: Pick<Gateways, 'forget'>;
    readonly mqtt: Pick<Mqtt, 'publish' | 'connected'>;
    /** What is held for its retained state. */
    readonly states: { forget(device: string): void };
  },
): (device: string) => Promise<ForgottenDevice> {
  async function clearRetained(device: string, left: Set<string>): Promise<void> {
    d.states.forget(device);
    const unreached = 'messages that the broker retains under its name: the broker could not be reached';
    if (!d.mqtt.connected) left.add(unreached);
    for (const kind of ['state', 'status'] as const) {
      const topic = o.topics.format({ kind, device });
      // An empty retained message takes the one before away: MQTT 3.1.1, 3.3.1.3.
      await d.mqtt.publish(topic, '', { qos: 1, retain: true }).catch(() => left.add(unreached));
    }
  }

  async function atGateways(device: string, left: Set<string>): Promise<number> {
    try {
      const { recordings, absent } = await d.gateways.forget(device);
      if (absent > 0) left.add(`recordings of ${absent} gateways that are not linked; ask again when they are`);
      return recordings;
    } catch (reason) {
      left.add(`recordings of a gateway: ${BrinkError.from(reason).message}`);
      return 0;
    }
  }

  /** Copies that were made before still hold it: one that does not takes their place. */
  async function renewCopies(left: Set<string>): Promise<void> {
    if (d.ledger.copies().length === 0) return;
    await d.ledger.copy(1).catch((reason: unknown) => {
      left.add(`copies of the ledger in backups/: ${BrinkError.from(reason).message}`);
    });
  }

  return async (device) => {
    const left = new Set<string>();
    const recordings = await atGateways(device, left);
    const rows = await d.ledger.forget(device);
    await d.ledger.look();
    await renewCopies(left);
    await clearRetained(device, left);
    await d.ledger.forgot(device);
    for (const name of existsSync(o.dataDir) ? readdirSync(o.dataDir) : [])
      if (OLD.test(name)) left.add(`${join(o.dataDir, name)}, if it is in there`);
    d.logger.info({ device, rows, recordings }, 'a device was forgotten');
    return { device, done: true, rows, recordings, left: [...left] };
  };
}
