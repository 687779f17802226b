import {
  BrinkError,
  type Credentials,
  type DeviceRecord,
  type ForgottenDevice,
  type GatewayReport,
} from '@brink/protocol';
import type { Clock, Logger } from '@brink/runtime';
import type { Ledger } from '../ledger/ledger.ts';
import type { DevicePatch } from '../ledger/messages.ts';
import { APPROVED_MAX, type Approvals } from './approvals.ts';
import { type CredentialStore, checkDeviceName, isDeviceName } from './credentials.ts';

const DEVICES_MAX = 100_000;

export interface DeviceView extends DeviceRecord {
  /** `site.join` is approve and nobody has approved it: its frames are refused. */
  readonly waiting: boolean;
  readonly streams: GatewayReport['streams'];
}

export interface DevicesDeps {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly credentials: CredentialStore;
  readonly approvals: Approvals;
  readonly reports: () => readonly GatewayReport[];
  /** What devices call the broker. */
  readonly publicUrl?: string | undefined;
  /** All that it left but its credentials. */
  readonly forget: (device: string) => Promise<ForgottenDevice>;
  /** Of the site, now. */
  readonly join: () => 'open' | 'approve';
}

/** Devices: what the ledger knows of them, what gateways count of them, and who may speak for them. */
export function createDevices(d: DevicesDeps) {
  const view = createView(d);
  const inTurn = createTurns();
  const notices = createNotices(d);

  async function known(name: string): Promise<DeviceRecord> {
    const record = await d.ledger.read.device(name);
    if (record === undefined) throw new BrinkError('E_NOT_FOUND', `there is no device "${name}"`);
    return record;
  }

  async function put(name: string, patch: DevicePatch): Promise<DeviceRecord> {
    if (patch.registered === true && !d.approvals.has(name) && d.approvals.size >= APPROVED_MAX)
      throw new BrinkError('E_CONFLICT', `${APPROVED_MAX} devices are registered; expected fewer, remove some`);
    const record = await d.ledger.putDevice(name, patch);
    d.approvals.set(name, record.registered);
    return record;
  }

  return {
    list: async (): Promise<DeviceView[]> => (await d.ledger.read.devices()).map(view),
    get: async (name: string): Promise<DeviceView> => view(await known(name)),
    /** @throws BrinkError E_NAME, E_CONFLICT where it is registered already */
    add: (name: string, note: string | undefined): Promise<DeviceView> =>
      inTurn(name, async () => {
        checkDeviceName(name);
        if ((await d.ledger.read.device(name))?.registered)
          throw new BrinkError('E_CONFLICT', `the device "${name}" is there already`);
        return view(await put(name, { registered: true, ...(note === undefined ? {} : { note }) }));
      }),
    /** Approves it or takes that back, and what people call it. @throws BrinkError E_NOT_FOUND */
    change: (name: string, patch: Pick<DevicePatch, 'registered' | 'note'>): Promise<DeviceView> =>
      inTurn(name, async () => {
        await known(name);
        return view(await put(name, patch));
      }),
    remove: (name: string): Promise<void> =>
      inTurn(name, async () => {
        await known(name);
        await d.credentials.revoke(name);
        await d.ledger.deleteDevice(name);
        d.approvals.set(name, false);
        notices.removed(name);
      }),
    /**
     * It, its credentials and all that it left, also of one that was removed before, and once more where something could not be
     * reached. What of it comes late is not taken up again. @throws BrinkError E_NAME, E_NOT_FOUND
     */
    forget: (name: string): Promise<ForgottenDevice> =>
      inTurn(name, async () => {
        if (!(await d.ledger.read.hasTraces(name))) await known(name);
        await d.credentials.revoke(name);
        d.approvals.set(name, false);
        notices.removed(name);
        return await d.forget(name);
      }),
    /** What was begun before control was killed is brought to its end; nobody waits for it. */
    async finishForgetting(): Promise<void> {
      for (const name of await d.ledger.read.unforgotten()) await inTurn(name, () => d.forget(name));
    },
    /** A device that nobody added is added by this. @throws BrinkError E_NAME, and what the store of credentials throws */
    createCredentials: (name: string): Promise<Credentials> =>
      inTurn(name, async () => {
        checkDeviceName(name);
        const credentials = await d.credentials.create(name);
        const made = credentials.needed ? { credentials_at: new Date(d.clock.now()).toISOString() } : {};
        await put(name, { registered: true, ...made });
        return d.publicUrl === undefined ? credentials : { ...credentials, url: d.publicUrl };
      }),
    /** Of a device that the ledger does not know too: a restored broker may know more than it. */
    revokeCredentials: (name: string): Promise<void> =>
      inTurn(name, async () => {
        checkDeviceName(name);
        await d.credentials.revoke(name);
        await known(name);
        // Where devices are approved, this one no longer is.
        await put(name, { credentials_at: null, registered: false });
      }),
    notice: notices.notice,
    meet: notices.meet,
  };
}

export type Devices = ReturnType<typeof createDevices>;

/** The ledger notes decisions and status; a frame that nothing came of was seen by a gateway all the same. */
function createView(d: Pick<DevicesDeps, 'reports' | 'join'>): (record: DeviceRecord) => DeviceView {
  return (record) => {
    const { name, last_seen = 0, registered } = record;
    const streams = d.reports().flatMap((report) => report.streams.filter((counts) => counts.device === name));
    const undeclared = d.reports().flatMap(({ discovered }) => discovered.filter(({ device }) => device === name));
    const times = [...streams, ...undeclared].map(({ last_at_ms }) => last_at_ms);
    const lastMs = Math.max(new Date(last_seen).getTime(), ...times);
    const seen = lastMs > 0 ? { last_seen: new Date(lastMs).toISOString() } : {};
    return { ...record, ...seen, waiting: d.join() === 'approve' && !registered, streams };
  };
}

/** Devices that join by themselves. */
function createNotices(d: Pick<DevicesDeps, 'ledger' | 'clock' | 'logger'>) {
  /** For those that were removed, until when what is told of them is old; for the others 0. */
  const noticed = new Map<string, number>();

  function meet(device: string, atMs: number): void {
    const before = noticed.get(device);
    if (before !== undefined && (before === 0 || atMs <= before)) return;
    if (before === undefined && noticed.size >= DEVICES_MAX) return;
    if (!isDeviceName(device)) return;
    noticed.set(device, 0);
    d.ledger.putDevice(device, {}).catch((error: unknown) => {
      noticed.delete(device);
      d.logger.warn({ err: error, device }, 'device not registered');
    });
  }

  return {
    removed: (device: string): void => void noticed.set(device, d.clock.now()),
    /** Somebody calls itself so, and a gateway turned it away: it is in the list, to be approved. */
    meet,
    /** Whoever publishes has joined, also where nothing of it was decided yet. */
    notice({ streams, discovered }: GatewayReport): void {
      for (const { device, last_at_ms } of [...streams, ...discovered]) meet(device, last_at_ms);
    },
  };
}

/** One change of a device after the other, so that credentials and what is written of them belong together. */
function createTurns() {
  const turns = new Map<string, Promise<unknown>>();
  return <T>(name: string, change: () => Promise<T>): Promise<T> => {
    const turn = (turns.get(name) ?? Promise.resolve()).then(change, change);
    turns.set(name, turn);
    const over = () => void (turns.get(name) === turn && turns.delete(name));
    turn.then(over, over);
    return turn;
  };
}
