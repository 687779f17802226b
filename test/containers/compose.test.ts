import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect } from 'node:http2';
import { join } from 'node:path';
import { connectAsync, type IClientOptions } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { noEngine, titled } from '../harness/engine.ts';
import { repository } from '../harness/fleet.ts';

// The compose file for real: what a person does on a box, on ports and volumes of its own.

const project = `brink-test-${process.pid}`;
const port = 20_000 + (process.pid % 10_000);
const env = {
  ...process.env,
  BRINK_IMAGE: 'brink:test',
  BRINK_PORT: String(port),
  BRINK_MQTT_PORT: String(port + 1),
  BRINK_OIP_PORT: String(port + 2),
  BRINK_OIP_GRPC_PORT: String(port + 3),
};
const http = `http://127.0.0.1:${port}`;
const mqtt = `mqtt://127.0.0.1:${port + 1}`;

function run(command: string, args: string[], ms = 600_000): { ok: boolean; out: string } {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: repository, env, encoding: 'utf8', timeout: ms });
  return { ok: status === 0, out: `${stdout ?? ''}${status === 0 ? '' : (stderr ?? '')}` };
}
const compose = (...args: string[]) => run('docker', ['compose', '-p', project, ...args]);
const brink = (...args: string[]) => compose('exec', '-T', 'control', 'brink', ...args);

const reason = noEngine('eclipse-mosquitto:2', 'node:24-trixie-slim', 'debian:trixie-slim');

interface Added {
  username: string;
  password: string;
  url: string;
  topic: string;
}

describe.skipIf(reason !== undefined)(titled('docker compose', reason), () => {
  let token: string;
  let camera: Added;

  beforeAll(() => {
    const built = compose('build');
    expect(built.ok, built.out).toBe(true);
    const up = compose('up', '--wait');
    expect(up.ok, `${up.out}\n${up.ok ? '' : compose('logs', '--tail', '40').out}`).toBe(true);
    token = brink('token').out.trim();
    camera = JSON.parse(brink('devices', 'add', 'cam-9', '--json').out) as Added;
  }, 900_000);
  afterAll(() => {
    compose('down', '--volumes', '--timeout', '5');
  }, 120_000);

  const login = (): IClientOptions => ({ username: camera.username, password: camera.password, clientId: 'any' });
  const get = (path: string, headers: Record<string, string> = { authorization: `Bearer ${token}` }) =>
    fetch(http + path, { headers });

  it('decides and acts on a picture that comes with the credentials that devices add printed', async () => {
    const client = await connectAsync(mqtt, login());
    await client.publishAsync(camera.topic, readFileSync(join(repository, 'packages/device/pictures/chelsea.png')), {
      qos: 1,
    });
    await client.endAsync();
    const cat = async () => {
      const page = (await (await get('/v1/decisions?device=cam-9&pipeline=pets')).json()) as { items: object[] };
      return page.items[0];
    };
    await expect.poll(cat, { timeout: 20_000 }).toMatchObject({ label: 'cat', label_text: '猫' });
    expect(brink('status').ok).toBe(true);
  });

  it('asks for the token over HTTP, and for credentials over MQTT', async () => {
    expect((await get('/v1/decisions', {})).status).toBe(401);
    expect((await get('/v1/decisions', { authorization: 'Bearer brk_nope' })).status).toBe(401);
    await expect(connectAsync(mqtt, {}, false)).rejects.toThrow(/[Nn]ot authorized/);
    await expect(connectAsync(mqtt, { ...login(), password: 'brink' }, false)).rejects.toThrow(/[Nn]ot authorized/);
  });

  it.each([
    ['another device', 'brink/cam-8/up/frames/front'],
    ['control', 'brink/cam-9/down/commands/open'],
    ['the gateway', 'brink/cam-9/down/receipts/front'],
    ['a service', 'brink/fleet/gateway/gateway-1'],
    ['the registrar', '$CONTROL/dynamic-security/v1'],
  ])('a device cannot speak as %s', async (_, topic) => {
    const client = await connectAsync(mqtt, { ...login(), protocolVersion: 5 });
    await expect(client.publishAsync(topic, '{}', { qos: 1 })).rejects.toThrow(/[Nn]ot authorized/);
    await client.endAsync(true);
  });

  it.each(['brink/#', 'brink/+/up/frames/#', 'brink/cam-8/down/#', '$share/g/brink/cam-9/down/#', '$SYS/#'])(
    'a device cannot read %s',
    async (filter) => {
      const client = await connectAsync(mqtt, { ...login(), protocolVersion: 5 });
      await expect(client.subscribeAsync(filter)).rejects.toThrow();
      await client.endAsync(true);
    },
  );

  it('runs nothing as root, nothing writable, nothing with capabilities, and publishes only MQTT and HTTP on loopback', () => {
    const names = compose('ps', '-q').out.trim().split('\n');
    const containers = JSON.parse(run('docker', ['inspect', ...names]).out) as {
      Config: { User: string };
      HostConfig: { ReadonlyRootfs: boolean; CapDrop: string[]; CapAdd: string[] | null; SecurityOpt: string[] };
      NetworkSettings: { Ports: Record<string, { HostIp: string; HostPort: string }[] | null> };
    }[];
    expect(containers).toHaveLength(4);
    for (const { Config, HostConfig } of containers) {
      expect(Config.User).toMatch(/^(10001:10001|1883:1883)$/);
      expect(HostConfig).toMatchObject({ ReadonlyRootfs: true, CapDrop: ['ALL'], CapAdd: null });
      expect(HostConfig.SecurityOpt).toContain('no-new-privileges:true');
    }
    const published = containers.flatMap(({ NetworkSettings }) =>
      Object.values(NetworkSettings.Ports).flatMap((p) => p ?? []),
    );
    expect(published.map(({ HostIp, HostPort }) => `${HostIp}:${HostPort}`).sort()).toEqual([
      `127.0.0.1:${port}`,
      `127.0.0.1:${port + 1}`,
    ]);
  });

  it('keeps the image under 450 MB, with the libraries of one platform', () => {
    const size = Number(run('docker', ['image', 'inspect', 'brink:test', '--format', '{{.Size}}']).out);
    expect(size).toBeGreaterThan(100e6);
    expect(size).toBeLessThan(450e6);
    const platforms = compose('exec', '-T', 'inference', 'ls', '/app/node_modules/onnxruntime-node/bin/napi-v6').out;
    expect(platforms.trim()).toBe('linux');
  });

  it('makes credentials once: a second start keeps them, and no log or environment shows one', () => {
    const before = brink('token').out;
    expect(compose('run', '--rm', '-T', 'init').out).toContain('nothing was changed');
    expect(brink('token').out).toBe(before);
    expect(compose('logs').out).not.toMatch(/brk_[\w-]{20}/);
    expect(compose('exec', '-T', 'control', 'env').out).not.toMatch(/brk_/);
  });

  it('takes a device its credentials away', async () => {
    const gone = JSON.parse(brink('devices', 'add', 'cam-7', '--json').out) as Added;
    const client = await connectAsync(mqtt, { username: gone.username, password: gone.password, reconnectPeriod: 0 });
    const closed = new Promise((resolve) => client.once('close', () => resolve(true)));
    expect(brink('devices', 'revoke', 'cam-7').ok).toBe(true);
    await closed;
    const again = connectAsync(mqtt, { username: gone.username, password: gone.password }, false);
    await expect(again).rejects.toThrow(/[Nn]ot authorized/);
  });

  it('publishes the Open Inference Protocol by an override, over HTTP and gRPC, for those who have its token', async () => {
    const up = compose('-f', 'docker-compose.yml', '-f', 'deploy/open-inference.yaml', 'up', '--wait', 'inference');
    expect(up.ok, up.out).toBe(true);
    const own = compose('exec', '-T', 'inference', 'cat', '/run/brink/secrets/http-token').out.trim();
    const metadata = (authorization?: string) =>
      fetch(
        `http://127.0.0.1:${port + 2}/v2/models/cifar-net`,
        authorization === undefined ? {} : { headers: { authorization } },
      );
    expect((await metadata()).status).toBe(401);
    expect((await metadata(`Bearer ${token}`)).status).toBe(401);
    expect(await (await metadata(`Bearer ${own}`)).json()).toMatchObject({
      name: 'cifar-net',
      platform: 'onnx_onnxv1',
    });
    expect(await grpcStatus(port + 3)).toBe('16'); // UNAUTHENTICATED
    expect(await grpcStatus(port + 3, `Bearer ${own}`)).toBe('0');
  }, 120_000);
});

/** Of an empty ServerMetadata, by HTTP/2 alone. */
function grpcStatus(at: number, authorization?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const session = connect(`http://127.0.0.1:${at}`);
    session.on('error', reject);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/inference.GRPCInferenceService/ServerMetadata',
      'content-type': 'application/grpc',
      te: 'trailers',
      ...(authorization === undefined ? {} : { authorization }),
    });
    const look = (headers: Record<string, unknown>) => {
      if (headers['grpc-status'] === undefined) return;
      resolve(String(headers['grpc-status']));
      session.destroy();
    };
    // Where nothing else comes, the trailers are the headers.
    stream.on('response', look);
    stream.on('trailers', look);
    stream.on('error', reject);
    stream.resume();
    stream.end(Buffer.alloc(5));
  });
}
