import { afterEach, describe, expect, test } from 'vitest';
import { silentLogger } from './logger.ts';
import { Counter, createRegistry, Registry } from './metrics.ts';
import { createOps } from './ops.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});
const never = new AbortController().signal;

async function start(problems: () => string[] = () => [], registry = new Registry(), port = 0) {
  const ops = createOps({ host: '127.0.0.1', port }, { registry, problems, logger: silentLogger });
  undo.push(() => ops.stop());
  await ops.start(never);
  const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${ops.address.port}${path}`, init);
  return { ops, get };
}

describe('ops', () => {
  test('says ready, or not and why', async () => {
    let problems: string[] = ['broker: not connected', 'link down'];
    const { get } = await start(() => problems);
    const sick = await get('/readyz');
    expect([sick.status, await sick.json()]).toEqual([503, { ready: false, problems }]);
    problems = [];
    const well = await get('/readyz');
    expect([well.status, await well.json()]).toEqual([200, { ready: true, problems: [] }]);
    expect((await get('/livez')).status).toBe(200);
  });

  test('serves the metrics, with those of the process', async () => {
    const registry = createRegistry('gateway');
    new Counter({ name: 'brink_things_total', help: 'Things', registers: [registry] }).inc(3);
    const { get } = await start(undefined, registry);
    const response = await get('/metrics');
    const text = await response.text();
    expect(response.headers.get('content-type')).toContain('text/plain');
    expect(text).toContain('brink_things_total{service="gateway"} 3');
    expect(text).toContain('brink_process_resident_memory_bytes');
  });

  test('has nothing else', async () => {
    const { get } = await start();
    expect((await get('/')).status).toBe(404);
    expect((await get('/livez', { method: 'POST' })).status).toBe(405);
  });

  test('survives a collector that throws', async () => {
    const registry = new Registry();
    new Counter({
      name: 'bad_total',
      help: 'x',
      registers: [registry],
      collect() {
        throw new Error('collector');
      },
    });
    const { get } = await start(undefined, registry);
    expect((await get('/metrics')).status).toBe(500);
    expect((await get('/livez')).status).toBe(200);
  });

  test('on a port that is taken is E_PORT, and stop is still fine', async () => {
    const { ops } = await start();
    await expect(start(undefined, new Registry(), ops.address.port)).rejects.toMatchObject({ code: 'E_PORT' });
  });
});
