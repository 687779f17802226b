import { BrinkError, type Credentials, type DeviceRecord, type GatewayReport, isName } from '@brink/protocol';
import type { Clock, Logger } from '@brink/runtime';
import type { Ledger } from '../ledger/ledger.ts';
import type { CredentialStore } from './credentials.ts';

/** The level of the topic tree that belongs to the services. */
const RESERVED = 'fleet';
const DEVICES_MAX = 100_000;

export type DeviceView = DeviceRecord & { readonly streams: GatewayReport['streams'] };

/** Devices: what the ledger knows of them, what gateways count of them, and who may speak for them. */
export function createDevices(d: {
  ledger: Ledger;
  clock: Clock;
  logger: Logger;
  credentials: CredentialStore;
  reports: () => readonly GatewayReport[];
}) {
  const streamsOf = (device: string) =>
    d.reports().flatMap(({ streams }) => streams.filter((counts) => counts.device === device));
  /** Devices that were noticed in reports; for those that were removed, until when what is counted of them is old. */
  const noticed = new Map<string, number>();

  /** The ledger notes decisions and status; a frame that nothing came of was seen by a gateway all the same. */
  function view(record: DeviceRecord): DeviceView {
    const { name, last_seen = 0 } = record;
    const streams = streamsOf(name);
    const undeclared = d.reports().flatMap(({ discovered }) => discovered.filter(({ device }) => device === name));
    const times = [...streams, ...undeclared].map(({ last_at_ms }) => last_at_ms);
    const lastMs = Math.max(new Date(last_seen).getTime(), ...times);
    return { ...record, ...(lastMs > 0 ? { last_seen: new Date(lastMs).toISOString() } : {}), streams };
  }

  async function known(name: string): Promise<DeviceRecord> {
    const record = await d.ledger.read.device(name);
    if (record === undefined) throw new BrinkError('E_NOT_FOUND', `there is no device "${name}"`);
    return record;
  }

  return {
    list: async (): Promise<DeviceView[]> => (await d.ledger.read.devices()).map(view),
    get: async (name: string): Promise<DeviceView> => view(await known(name)),
    /** @throws BrinkError E_NAME, E_CONFLICT where it is registered already */
    async add(name: string, note: string | undefined): Promise<DeviceView> {
      if (!isName(name) || name === RESERVED) {
        throw new BrinkError('E_NAME', `"${name}" cannot be a device's name; "${RESERVED}" belongs to the services`);
      }
      if ((await d.ledger.read.device(name))?.registered) {
        throw new BrinkError('E_CONFLICT', `the device "${name}" is there already`);
      }
      return view(await d.ledger.putDevice(name, { registered: true, ...(note === undefined ? {} : { note }) }));
    },
    async remove(name: string): Promise<void> {
      await known(name);
      await d.credentials.revoke(name);
      await d.ledger.deleteDevice(name);
      noticed.set(name, d.clock.now());
    },
    /** Whoever publishes has joined, also where nothing of it was decided yet. */
    notice({ streams, discovered }: GatewayReport): void {
      for (const { device, last_at_ms } of [...streams, ...discovered]) {
        const before = noticed.get(device);
        if (before !== undefined && (before === 0 || last_at_ms <= before)) continue;
        if (before === undefined && noticed.size >= DEVICES_MAX) continue;
        noticed.set(device, 0);
        d.ledger.putDevice(device, {}).catch((error: unknown) => {
          noticed.delete(device);
          d.logger.warn({ err: error, device }, 'device not registered');
        });
      }
    },
    /** A device that nobody added is added by this. */
    async createCredentials(name: string): Promise<Credentials> {
      if (name === RESERVED) throw new BrinkError('E_NAME', `"${RESERVED}" belongs to the services`);
      const credentials = await d.credentials.create(name);
      const made = credentials.needed ? { credentials_at: new Date(d.clock.now()).toISOString() } : {};
      await d.ledger.putDevice(name, { registered: true, ...made });
      return credentials;
    },
    async revokeCredentials(name: string): Promise<void> {
      await known(name);
      await d.credentials.revoke(name);
    },
  };
}

export type Devices = ReturnType<typeof createDevices>;
