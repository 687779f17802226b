import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { api, type List } from '../harness/api.ts';
import { repository } from '../harness/fleet.ts';
import { end, spawnUp, startUp, type UpOptions } from '../harness/up.ts';

// `brink up` as a person meets it: it runs the whole loop, stops at once, and refuses with one clear line.

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'brink-up-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function refused(options: Omit<UpOptions, 'folder'>): Promise<{ code: number | null; output: string }> {
  const { child, output } = await spawnUp({ folder, ...options });
  const [code] = (await once(child, 'exit', { signal: AbortSignal.timeout(60_000) })) as [number | null];
  return { code, output: output() };
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

describe('brink up', () => {
  it('runs the demonstration: the cat opens the flap; Ctrl-C stops everything within 3 s, exit 0', async () => {
    await using up = await startUp({ folder, demo: true });
    await api(up.http).until<List<{ state: string }>>(
      '/v1/actions',
      ({ items }) => items[0]?.state === 'acked',
      40_000,
    );
    const start = performance.now();
    up.child.kill('SIGINT');
    const [code] = (await once(up.child, 'exit', { signal: AbortSignal.timeout(10_000) })) as [number | null];
    expect(code).toBe(0);
    expect(performance.now() - start).toBeLessThan(3000);
    expect(Object.values(up.pids).filter(alive)).toEqual([]);
  });

  it('leaves nothing running when it is killed with SIGKILL itself', async () => {
    await using up = await startUp({ folder });
    up.child.kill('SIGKILL');
    await once(up.child, 'exit');
    await expect.poll(() => Object.values(up.pids).filter(alive), { timeout: 10_000 }).toEqual([]);
  });

  it('refuses a wrong configuration with file, line and column, exit 78', async () => {
    const config = join(folder, 'config');
    cpSync(join(repository, 'config'), config, { recursive: true });
    const streams = join(config, 'streams.yaml');
    writeFileSync(streams, readFileSync(streams, 'utf8').replace('delivery:', 'delivry:'));
    const { code, output } = await refused({ config });
    expect(code).toBe(78);
    expect(output).toMatch(/streams\.yaml:\d+:\d+/);
    expect(output).toContain('delivry');
    expect(output).toContain('delivery');
  });

  it('refuses a model that is not there, naming it, exit 78', async () => {
    const models = join(folder, 'models');
    mkdirSync(models);
    const { code, output } = await refused({ models });
    expect(code).toBe(78);
    expect(output).toMatch(/cifar-net/);
  });

  it('refuses a data folder that cannot be written, exit 78', async () => {
    // Under a file nothing can be made, not even by root.
    const file = join(folder, 'data');
    writeFileSync(file, '');
    const { code, output } = await refused({});
    expect(code).toBe(78);
    expect(output).toContain('E_STORAGE_READONLY');
  });

  it('refuses a port that is taken, naming it', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const { child, output } = await spawnUp({ folder, args: ['--mqtt-port', String(port)] });
    const [code] = (await once(child, 'exit', { signal: AbortSignal.timeout(60_000) })) as [number | null];
    server.close();
    expect(code).not.toBe(0);
    expect(output()).toContain(String(port));
    expect(output()).toContain('E_PORT');
  });

  it('refuses to share its data folder with another brink up', async () => {
    await using _first = await startUp({ folder });
    const { code, output } = await refused({});
    expect(code).toBe(75);
    expect(output).toContain('E_LOCKED');
  });

  it('ends cleanly when it is stopped while it starts', async () => {
    const { child } = await spawnUp({ folder });
    await new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
    expect(await end(child)).toBe(0);
  });
});
