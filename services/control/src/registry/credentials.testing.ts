import { systemClock } from '@brink/runtime';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CredentialStore } from './credentials.ts';

/** A broker and the store that keeps its devices, for as long as a test. */
export interface CredentialsFixture extends AsyncDisposable {
  readonly url: string;
  readonly store: CredentialStore;
  /** The same store, as a control finds it that was started anew. */
  again(): Promise<CredentialStore>;
  /** Somebody who sees and says everything, beside the devices. */
  readonly watcher: { readonly username: string; readonly password: string };
}

/** "Revoke = gone within a second." */
const KICKED_MS_MAX = 1000;
const PATIENCE_MS = 5000;

type Made = Extract<Awaited<ReturnType<CredentialStore['create']>>, { needed: true }>;

/** What every store of credentials must hold, tried on the broker that it is for. */
export function credentialsContract(o: {
  readonly name: string;
  /** Why it cannot be tried here. */
  readonly skip?: string | undefined;
  start(): Promise<CredentialsFixture>;
}): void {
  describe.skipIf(o.skip !== undefined)(
    `credentials of ${o.name}${o.skip === undefined ? '' : ` (skipped: ${o.skip})`}`,
    () => {
      let opened: Site | undefined;
      beforeAll(async () => {
        opened = await openSite(await o.start());
      });
      afterAll(() => opened?.[Symbol.asyncDispose]());
      const site = (): Site => opened as Site;
      promises((title, run) => test(title, () => run(site())));
    },
  );
}

/** Each test has devices of its own: they share a broker, as they do on a site. */
function promises(it: (title: string, run: (site: Site) => Promise<void>) => void): void {
  it('a device comes in with its own, and does its own and no more', async ({
    make,
    connect,
    connectAs,
    watch,
    refusal,
  }) => {
    const [one, two] = [await make('cam-1'), await make('cam-2')];
    expect(one).toMatchObject({ device: 'cam-1', username: 'cam-1', client_id: 'cam-1' });
    expect(one.password).toMatch(/[\w-]{43}/);
    expect(two.password).not.toBe(one.password);
    expect(await refusal({ clientId: 'cam-1' })).toBeDefined();
    expect(await refusal({ clientId: 'cam-1', username: 'cam-1', password: `${one.password}x` })).toBeDefined();
    expect(await refusal({ clientId: 'cam-1', username: 'cam-1', password: two.password })).toBeDefined();
    expect(await refusal({ clientId: 'cam-9', username: 'cam-9', password: one.password })).toBeDefined();

    const watcher = await watch('brink/#');
    const camera = await connect(one);
    const commands = inbox(camera);
    await camera.subscribeAsync('brink/cam-1/down/#', { qos: 1 });
    await camera.publishAsync('brink/cam-1/up/frames/front/k3v9-1', 'frame', { qos: 1 });
    await watcher.client.publishAsync('brink/cam-1/down/commands/open', 'command', { qos: 1 });
    await until('frame and command', () => watcher.seen.length >= 2 && commands.length === 1);

    // The other one may neither hear nor say what is the first one's, and nobody says what is control's.
    const thief = await connect(two);
    const stolen = inbox(thief);
    const granted = await thief.subscribeAsync(['brink/cam-1/down/#', '#'], { qos: 1 }).catch(() => []);
    expect(granted.filter(({ qos }) => qos < 128)).toEqual([]);
    for (const [from, topic] of [
      [two, 'brink/cam-1/up/acks'],
      [two, 'brink/cam-2/down/commands/open'],
      [two, 'brink/fleet/config'],
    ] as const) {
      const client = thief.connected ? thief : await connectAs(from);
      await say(client, topic, 'forged');
    }
    await watcher.client.publishAsync('brink/cam-1/down/commands/open', 'again', { qos: 1 });
    await until('the second command', () => commands.length === 2);
    expect(watcher.seen.filter((message) => message.endsWith('forged'))).toEqual([]);
    expect(stolen).toEqual([]);
  });

  it('rotated ones end the old at once, and revoked ones all; others notice nothing', async ({
    store,
    make,
    connect,
    refusal,
  }) => {
    const [one, two] = [await make('pump-1'), await make('pump-2')];
    const [first, other] = [await connect(one), await connect(two)];
    let drops = 0;
    other.on('close', () => (drops += 1));
    const rotated = await within(KICKED_MS_MAX, 'the old connection ends', first, () => make('pump-1'));
    expect(rotated.password).not.toBe(one.password);
    expect(await refusal(one)).toBeDefined();
    const second = await connect(rotated);
    await within(KICKED_MS_MAX, 'the revoked one ends', second, () => store.revoke('pump-1'));
    expect(await refusal(rotated)).toBeDefined();
    // There is nothing left to revoke, and that is fine.
    await store.revoke('pump-1');
    await store.revoke('pump-never');
    expect([drops, other.connected]).toEqual([0, true]);
    // Let in again under its old name.
    expect((await connect(await make('pump-1'))).connected).toBe(true);
  });

  it('whoever is no device of Brink keeps what they have, also where a device gets their name', async ({
    store,
    watch,
  }) => {
    const before = await watch('brink/#');
    await store.create('watcher').catch((error) => expect(error).toMatchObject({ code: 'E_CONFLICT' }));
    expect((await watch('brink/#')).client.connected).toBe(true);
    await store.revoke('watcher').catch((error) => expect(error).toMatchObject({ code: 'E_CONFLICT' }));
    expect((await watch('brink/#')).client.connected).toBe(true);
    await before.client.endAsync(true);
  });

  it('many at once are all kept, and found again by a control that was started anew', async ({
    make,
    connect,
    again,
    refusal,
  }) => {
    const names = Array.from({ length: 12 }, (_, i) => `many-${i}`);
    const made = await Promise.all(names.map((name) => make(name)));
    const clients = await Promise.all(made.map(connect));
    expect(clients.filter(({ connected }) => connected)).toHaveLength(names.length);
    const store = await again();
    await store.revoke('many-3');
    await until('it is out', () => clients[3]?.connected === false);
    expect(await refusal(made[3] as Made)).toBeDefined();
    await store.create('many-new');
    expect((await connect(made[4] as Made)).connected).toBe(true);
  });

  it('names that are no device are refused', async ({ store }) => {
    for (const name of ['fleet', 'Cam 1', 'a/b', '#', '', '<img onerror=x>', '__proto__'])
      for (const act of [store.create, store.revoke])
        await expect(act(name), name).rejects.toMatchObject({ code: 'E_NAME' });
  });
}

type Site = Awaited<ReturnType<typeof openSite>>;

async function openSite(fixture: CredentialsFixture) {
  const clients: MqttClient[] = [];
  const open = (options: IClientOptions): MqttClient => {
    const client = mqtt.connect(fixture.url, { reconnectPeriod: 0, connectTimeout: PATIENCE_MS, ...options });
    client.on('error', () => {});
    clients.push(client);
    return client;
  };
  const optionsOf = ({ username, password, client_id }: Pick<Made, 'username' | 'password' | 'client_id'>) => ({
    ...{ username, password },
    clientId: client_id,
  });

  /** At once: whoever was told of credentials may use them. */
  async function connectAs(made: Made): Promise<MqttClient> {
    const client = open(optionsOf(made));
    const reason = await outcomeOf(client);
    if (reason !== undefined) throw new Error(`${made.device} is not let in: ${reason.message}`);
    return client;
  }

  return {
    store: fixture.store,
    again: () => fixture.again(),
    async make(device: string): Promise<Made> {
      const made = await fixture.store.create(device);
      if (!made.needed) throw new Error(`no credentials for ${device}`);
      return made;
    },
    connect: connectAs,
    connectAs,
    /** Why a client is not let in; undefined where it is. */
    async refusal(options: IClientOptions | Made): Promise<Error | undefined> {
      const client = open('needed' in options ? optionsOf(options) : options);
      const reason = await outcomeOf(client);
      await client.endAsync(true);
      return reason;
    },
    async watch(filter: string) {
      const client = open({ ...fixture.watcher, clientId: fixture.watcher.username });
      const reason = await outcomeOf(client);
      if (reason !== undefined) throw reason;
      const seen = inbox(client);
      await client.subscribeAsync(filter, { qos: 1 });
      return { client, seen };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(clients.map((client) => client.endAsync(true)));
      await fixture[Symbol.asyncDispose]();
    },
  };
}

function outcomeOf(client: MqttClient): Promise<Error | undefined> {
  return new Promise((resolve) => {
    client.once('connect', () => resolve(undefined));
    client.once('error', resolve);
    client.once('close', () => resolve(new Error('closed')));
  });
}

function inbox(client: MqttClient): string[] {
  const seen: string[] = [];
  client.on('message', (topic, payload) => seen.push(`${topic} ${payload}`));
  return seen;
}

/** Taken, refused, or the connection is ended over it: MQTT 3.1.1 has no other way to refuse. */
async function say(client: MqttClient, topic: string, payload: string): Promise<void> {
  const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
  await Promise.race([client.publishAsync(topic, payload, { qos: 1 }).catch(() => {}), closed]);
}

/** Measured from the moment that the store has answered. */
async function within<T>(limitMs: number, what: string, client: MqttClient, act: () => Promise<T>): Promise<T> {
  const closed = new Promise<number>((resolve) => client.once('close', () => resolve(systemClock.monotonic())));
  const value = await act();
  const answeredAt = systemClock.monotonic();
  await until(what, () => !client.connected);
  expect(Math.max(0, (await closed) - answeredAt), what).toBeLessThan(limitMs);
  return value;
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
