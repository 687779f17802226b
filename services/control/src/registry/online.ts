import type { Clock, Logger, Part, Timer } from '@brink/runtime';
import type { Ledger } from '../ledger/ledger.ts';

/** Who is there has said so by then: what the broker retains comes at once, and devices come back within seconds. */
const SETTLE_MS = 30_000;

type State = 'online' | 'offline';

/**
 * Which devices are online: what each says on `up/status`, or its last will. A device that went while the broker was away left no will
 * that anybody kept; so whoever was online before the broker came back and does not say so again is unknown.
 */
export function createOnline(
  o: { readonly settleMs?: number },
  d: { readonly ledger: Pick<Ledger, 'deviceStatus' | 'read'>; readonly clock: Clock; readonly logger: Logger },
): Part & { heard(device: string, state: State, retained: boolean): void; connected(): void } {
  let told = new Set<string>();
  let timer: Timer | undefined;
  const failed = (error: unknown) => d.logger.warn({ err: error }, 'status could not be recorded');

  function forgetTimer(): void {
    if (timer !== undefined) d.clock.clearTimeout(timer);
    timer = undefined;
  }

  async function settle(): Promise<void> {
    timer = undefined;
    // Those of this time: the broker may come back once more while the ledger answers.
    const known = told;
    const devices = await d.ledger.read.devices();
    const silent = devices.filter(({ name, state }) => state === 'online' && !known.has(name));
    for (const { name } of silent) await d.ledger.deviceStatus(name, 'unknown', { retained: true });
    if (silent.length > 0) d.logger.info({ devices: silent.length }, 'devices of which nothing is known any more');
  }

  return {
    /** @param retained kept by the broker: it says how the device is, and nothing of when it was seen */
    heard(device, state, retained) {
      told.add(device);
      d.ledger.deviceStatus(device, state, { retained }).catch(failed);
    },
    /** To the broker, for the first time or again. */
    connected() {
      forgetTimer();
      told = new Set();
      timer = d.clock.setTimeout(() => void settle().catch(failed), o.settleMs ?? SETTLE_MS);
    },
    start: () => Promise.resolve(),
    stop() {
      forgetTimer();
      return Promise.resolve();
    },
  };
}
