import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BrinkError } from '@brink/protocol';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { systemClock } from './clock.ts';
import { createChildMetrics } from './exits.ts';
import type { LinkOptions } from './link/messages.ts';
import { silentLogger } from './logger.ts';
import { Registry } from './metrics.ts';
import { type Child, type ChildDependencies, type ChildExit, type ChildOptions, createChild } from './supervise.ts';

const folder = mkdtempSync(join(tmpdir(), 'brink-child-'));
const runtime = fileURLToPath(new URL('./index.ts', import.meta.url));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A child's module, as a file. */
function moduleOf(code: string): string {
  const path = join(folder, `${Math.random().toString(36).slice(2)}.mjs`);
  writeFileSync(path, code);
  return path;
}

const link: LinkOptions = { service: 'parent', instance: 'p', window: 4, frameBytesMax: 1024 * 1024 };
const SERVE = `
  import { serveParent } from ${JSON.stringify(runtime)};
  await serveParent({ service: 'child', instance: 'c', window: 4, frameBytesMax: 1048576 }, { handlers: {
    announce: async ({ instance: json }) => {
      if (json === 'crash') process.exit(3);
      if (json === 'abort') process.abort();
      if (json === 'hang') for (;;);
      return { body: { case: 'committed', value: { count: process.pid } } };
    },
  } });`;
const word = (json: string) => ({ case: 'announce', value: { instance: json } }) as const;

const children: Child[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) await child.stop();
});

function make(o: Partial<ChildOptions> & { module: string }, d: Partial<ChildDependencies> = {}) {
  const exits: ChildExit[] = [];
  const registry = new Registry();
  const child = createChild(
    { name: 'it', stopMs: 2000, restart: { max: 3, withinMs: 60_000, baseMs: 1, capMs: 5 }, ...o },
    {
      logger: silentLogger,
      clock: systemClock,
      random: Math.random,
      metrics: createChildMetrics(registry),
      ...d,
      onExit(exit) {
        exits.push(exit);
        d.onExit?.(exit);
      },
    },
  );
  children.push(child);
  const metric = async (line: RegExp) => Number(line.exec(await registry.metrics())?.[1] ?? Number.NaN);
  return { child, exits, metric };
}

const alive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};
const never = new AbortController().signal;

describe('a child', () => {
  test('answers over fd 3, and is gone after stop', async () => {
    const { child, exits, metric } = make({ module: moduleOf(SERVE), link });
    await child.start(never);
    const { pid } = child;
    const reply = await child.peer!.request(word('hello'));
    expect(reply.body).toMatchObject({ case: 'committed', value: { count: pid } });
    await child.stop();
    expect(alive(pid!)).toBe(false);
    expect(exits).toMatchObject([{ reason: 'stopped', expected: true }]);
    expect(await metric(/brink_child_exits_total\{child="it",reason="stopped"\} (\d+)/)).toBe(1);
  });

  test('that crashes is started again, and its requests fail with E_LINK_CLOSED', async () => {
    let ups = 0;
    const { child, exits, metric } = make(
      { module: moduleOf(SERVE), link },
      {
        onUp: () => {
          ups += 1;
        },
      },
    );
    await child.start(never);
    await expect(child.peer!.request(word('crash'))).rejects.toMatchObject({ code: 'E_LINK_CLOSED' });
    await expect.poll(() => ups, { timeout: 10_000 }).toBe(2);
    expect(exits).toMatchObject([{ reason: 'crashed', code: 3, expected: false }]);
    expect(child.restarts).toBe(1);
    expect(await metric(/brink_child_restarts_total\{child="it"\} (\d+)/)).toBe(1);
    await expect(child.peer!.request(word('hello'))).resolves.toBeDefined();
  });

  test('that hangs in its only thread is ended at its deadline, with its own reason', async () => {
    const { child, exits } = make({ module: moduleOf(SERVE), link });
    await child.start(never);
    const hung = child.peer!.request(word('hang'));
    child.kill('deadline');
    await expect(hung).rejects.toMatchObject({ code: 'E_LINK_CLOSED' });
    await expect.poll(() => exits).toMatchObject([{ reason: 'killed-deadline', signal: 'SIGKILL' }]);
  });

  test('that is recycled is replaced at once, and its budget of restarts is not touched', async () => {
    const { child, exits } = make({
      module: moduleOf(SERVE),
      link,
      restart: { max: 0, withinMs: 60_000, baseMs: 60_000, capMs: 60_000 },
    });
    await child.start(never);
    for (let i = 1; i <= 2; i++) {
      const { pid } = child;
      child.kill('recycled');
      await expect.poll(() => child.peer !== undefined && child.pid !== pid, { timeout: 10_000 }).toBe(true);
      expect(exits).toHaveLength(i);
    }
    expect(exits).toMatchObject([{ reason: 'recycled' }, { reason: 'recycled' }]);
  });

  test('that hangs is SIGKILLed by stop after stopMs', async () => {
    const { child } = make({ module: moduleOf(SERVE), link, stopMs: 100 });
    await child.start(never);
    const { pid } = child;
    child.peer!.request(word('hang')).catch(() => {});
    await child.stop();
    expect(alive(pid!)).toBe(false);
  });

  test('that always crashes is given up when its budget is spent, and start says so', async () => {
    let gaveUp = 0;
    const { child, exits, metric } = make(
      { module: moduleOf('process.exit(7)'), link },
      {
        onGiveUp: () => {
          gaveUp += 1;
        },
      },
    );
    await expect(child.start(never)).rejects.toMatchObject({ code: 'E_CRASHED' });
    expect(exits).toHaveLength(4);
    expect(gaveUp).toBe(1);
    expect(await metric(/reason="gave-up"\} (\d+)/)).toBe(1);
    expect(await metric(/reason="crashed"\} (\d+)/)).toBe(4);
  });

  test("with restart 'never' fails start at the first end", async () => {
    const { child, exits } = make({ module: moduleOf('process.exit(7)'), link, restart: 'never' });
    await expect(child.start(never)).rejects.toMatchObject({ code: 'E_CRASHED' });
    expect(exits).toHaveLength(1);
  });

  test('whose onUp rejects is ended and counts as not up', async () => {
    const { child, exits } = make(
      { module: moduleOf(SERVE), link, restart: 'never' },
      { onUp: () => Promise.reject(new BrinkError('E_MODEL_PARSE', 'no graph')) },
    );
    await expect(child.start(never)).rejects.toMatchObject({ code: 'E_CRASHED' });
    expect(exits).toMatchObject([{ reason: 'not-up' }]);
  });

  test('that never says hello is ended after the hello limit', async () => {
    const { child, exits } = make({
      module: moduleOf('setInterval(() => {}, 1000)'),
      link: { ...link, helloTimeoutMs: 100 },
      restart: 'never',
    });
    await expect(child.start(never)).rejects.toMatchObject({ code: 'E_CRASHED' });
    expect(exits).toMatchObject([{ reason: 'not-up' }]);
  });

  test('inherits nothing of the environment but PATH', async () => {
    process.env['BRINK_SECRET_OF_TEST'] = 'x';
    const code = SERVE.replace(
      'process.pid',
      'Object.keys(process.env).filter((k) => !["PATH", "NODE_COMPILE_CACHE", "MINE"].includes(k)).length',
    );
    const { child } = make({ module: moduleOf(code), link, env: { MINE: '1' } });
    await child.start(never);
    const { body } = await child.peer!.request(word('hello'));
    delete process.env['BRINK_SECRET_OF_TEST'];
    expect(body).toMatchObject({ value: { count: 0 } });
  });

  test('is stopped while its restart is due', async () => {
    const { child, exits } = make(
      {
        module: moduleOf('process.exit(7)'),
        restart: { max: 5, withinMs: 60_000, baseMs: 60_000, capMs: 60_000 },
      },
      { random: () => 0.99 },
    );
    await child.start(never);
    await expect.poll(() => exits.length).toBe(1);
    await child.stop();
    expect(child.pid).toBeUndefined();
  });
});

describe('a parent killed with SIGKILL', () => {
  for (const what of ['idle', 'hang'] as const) {
    test(`leaves no child that is ${what === 'hang' ? 'hung in its main thread' : 'idle'}`, async () => {
      const child = moduleOf(SERVE);
      const parent = moduleOf(`
        import { createChild, silentLogger, systemClock } from ${JSON.stringify(runtime)};
        const child = createChild({ name: 'it', module: ${JSON.stringify(child)}, stopMs: 1000, restart: 'never', link: ${JSON.stringify(link)} },
          { logger: silentLogger, clock: systemClock, random: Math.random });
        await child.start(new AbortController().signal);
        if (${JSON.stringify(what)} === 'hang') child.peer.request({ case: 'announce', value: { instance: 'hang' } }).catch(() => {});
        setTimeout(() => process.stdout.write(String(child.pid) + '\\n'), 50);`);
      const run = spawn(process.execPath, [parent], { stdio: ['ignore', 'pipe', 'inherit'] });
      const pid = Number(await new Promise((resolve) => run.stdout.once('data', resolve)));
      expect(alive(pid)).toBe(true);
      run.kill('SIGKILL');
      await expect.poll(() => alive(pid), { timeout: 10_000 }).toBe(false);
    });
  }
});
