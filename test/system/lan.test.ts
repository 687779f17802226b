import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuditEntry, Decision } from '@brink/protocol';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { api, type List } from '../harness/api.ts';
import { repository } from '../harness/fleet.ts';
import { startUp } from '../harness/up.ts';

// `npm start -- --lan`: the network may come in, with a token over HTTP and with credentials over MQTT.

const cat = readFileSync(join(repository, 'packages/device/pictures/chelsea.jpg'));

let folder: string;
let clients: MqttClient[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'brink-lan-'));
  clients = [];
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.endAsync(true)));
  rmSync(folder, { recursive: true, force: true });
});

/** @returns the client, or why it is not let in */
function connect(url: string, options: IClientOptions): Promise<MqttClient | Error> {
  const client = mqtt.connect(url, { reconnectPeriod: 0, connectTimeout: 5000, ...options });
  clients.push(client);
  return new Promise((resolve) => {
    client.once('connect', () => resolve(client));
    client.on('error', resolve);
    client.once('close', () => resolve(new Error('closed')));
  });
}

interface Added {
  readonly username: string;
  readonly password: string;
  readonly client_id: string;
  readonly url: string;
}

describe('brink up --lan', () => {
  it('asks everybody for credentials, gives them out, and ends them within a second; the demonstration has its own', async () => {
    await using up = await startUp({ folder, demo: true, args: ['--lan'] });
    const file = String((up as unknown as { token_file: string }).token_file);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const token = readFileSync(file, 'utf8');
    const ask = async (method: string, path: string) => {
      const answer = await fetch(up.http + path, { method, headers: { authorization: `Bearer ${token}` } });
      return {
        status: answer.status,
        body: (answer.status === 204 ? {} : await answer.json()) as Record<string, unknown>,
      };
    };
    expect((await fetch(`${up.http}/v1/status`)).status).toBe(401);
    expect(await connect(up.mqtt, { clientId: 'anybody' })).toBeInstanceOf(Error);

    const added: Added = (await ask('POST', '/v1/devices/cam-9/credentials')).body as unknown as Added;
    // The address that others on the network use; a machine without a network has only its own.
    const { port, hostname } = new URL(added.url);
    expect(port).toBe(new URL(up.mqtt).port);
    const credentials = { clientId: added.client_id, username: added.username, password: added.password };
    expect(await connect(added.url, { ...credentials, password: 'wrong' })).toBeInstanceOf(Error);
    const camera = await connect(added.url, credentials);
    if (camera instanceof Error) throw camera;
    await camera.publishAsync('brink/cam-9/up/frames/front', cat, { qos: 1 });
    const entrance = api(`http://${hostname}:${new URL(up.http).port}`, token);
    const { items } = await entrance.until<List<Decision>>(
      '/v1/decisions?device=cam-9',
      (list) => list.items.length > 0,
    );
    expect(items[0]).toMatchObject({ label: 'cat', outcome: 'decided' });
    await entrance.until<{ state: string }>('/v1/devices/feeder-1', ({ state }) => state === 'online');

    let closedAt = 0;
    camera.once('close', () => (closedAt = performance.now()));
    expect((await ask('DELETE', '/v1/devices/cam-9/credentials')).status).toBe(204);
    const answeredAt = performance.now();
    await expect.poll(() => closedAt, { timeout: 5000 }).toBeGreaterThan(0);
    expect(closedAt - answeredAt).toBeLessThan(1000);
    expect(await connect(added.url, credentials)).toBeInstanceOf(Error);
    const { items: rows } = (await ask('GET', '/v1/audit?path=/v1/devices')).body as unknown as List<AuditEntry>;
    expect(rows.map(({ method, status }) => `${method} ${status}`)).toEqual(['DELETE 204', 'POST 201']);
  });
});
