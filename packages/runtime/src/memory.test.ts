import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { systemClock } from './clock.ts';
import type { LinkOptions } from './link/messages.ts';
import { silentLogger } from './logger.ts';
import { limitMemory, type MemoryWatch } from './memory.ts';
import { type Child, type ChildExit, createChild } from './supervise.ts';

const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), 'brink-memory-'));
const module = join(folder, 'child.mjs');
// Takes so many MiB as it is told, and says how many bytes it got.
writeFileSync(
  module,
  `import { serveParent } from ${JSON.stringify(fileURLToPath(new URL('./index.ts', import.meta.url)))};
  const kept = [];
  await serveParent({ service: 'child', instance: 'c', window: 4, frameBytesMax: 1048576 }, { handlers: {
    announce: async ({ instance }) => {
      let count = 0;
      try {
        const memory = new Uint8Array(Number(instance) * ${MIB});
        kept.push(memory.fill(1));
        count = memory.byteLength;
      } catch {}
      return { body: { case: 'committed', value: { count } } };
    },
  } });`,
);
const link: LinkOptions = { service: 'parent', instance: 'p', window: 4, frameBytesMax: MIB };
const here = process.platform === 'linux';

const children: Child[] = [];
const watches: MemoryWatch[] = [];
afterEach(async () => {
  for (const watch of watches.splice(0)) watch.stop();
  for (const child of children.splice(0)) await child.stop();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function start(memoryBytesMax?: number) {
  const exits: ChildExit[] = [];
  const child = createChild(
    {
      name: 'it',
      module,
      stopMs: 2000,
      restart: 'never',
      link,
      ...(memoryBytesMax === undefined ? {} : { memoryBytesMax }),
    },
    { logger: silentLogger, clock: systemClock, random: Math.random, onExit: (exit) => void exits.push(exit) },
  );
  children.push(child);
  await child.start(AbortSignal.timeout(20_000));
  const takeMiB = async (mib: number) => {
    const reply = await child.peer?.request({ case: 'announce', value: { instance: String(mib) } });
    return reply?.body.case === 'committed' ? reply.body.value.count / MIB : undefined;
  };
  return { child, exits, takeMiB };
}

describe.skipIf(!here)(`a child with a memory limit${here ? '' : ' (skipped: only Linux has one)'}`, () => {
  test('cannot allocate more, hears so, and lives', async () => {
    const { child, exits, takeMiB } = await start(256 * MIB);
    expect(await takeMiB(64)).toBe(64);
    expect(child.memoryBytes).toBeGreaterThan(64 * MIB);
    expect(await takeMiB(1024)).toBe(0);
    expect(await takeMiB(32)).toBe(32);
    expect(exits).toEqual([]);
  });

  test('may take as much as there is without one', async () => {
    const { child, takeMiB } = await start();
    expect(await takeMiB(512)).toBe(512);
    expect(child.memoryBytes).toBeUndefined();
  });
});

describe.skipIf(!here)(`the watch over memory${here ? '' : ' (skipped: only Linux has /proc)'}`, () => {
  test('tells when a process holds more than it may, though nothing stopped it', async () => {
    const { child, takeMiB } = await start();
    const exceeded = Promise.withResolvers<number>();
    // Without prlimit on the PATH only the looks are left.
    const { PATH } = process.env;
    process.env['PATH'] = folder;
    const reasons: string[] = [];
    const watch = await limitMemory(child.pid ?? 0, 64 * MIB, {
      clock: systemClock,
      exceeded: exceeded.resolve,
      unlimited: (reason) => void reasons.push(reason),
    });
    process.env['PATH'] = PATH;
    watches.push(watch);
    expect(reasons).toEqual([expect.stringContaining('prlimit')]);
    expect(await takeMiB(128)).toBe(128);
    expect(await exceeded.promise).toBeGreaterThan(128 * MIB);
  });

  test('says of a process that is not there that it cannot be limited', async () => {
    const gone = spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' });
    await new Promise((resolve) => gone.once('exit', resolve));
    const reasons: string[] = [];
    const watch = await limitMemory(gone.pid ?? 0, MIB, {
      clock: systemClock,
      exceeded: () => {},
      unlimited: (reason) => void reasons.push(reason),
    });
    expect(reasons).toHaveLength(1);
    expect(watch.bytes).toBeUndefined();
  });
});

describe.skipIf(!here)(`a child over its limit${here ? '' : ' (skipped: only Linux has one)'}`, () => {
  test("is ended with the reason 'memory' where the kernel let it through", async () => {
    const { PATH } = process.env;
    process.env['PATH'] = folder;
    const starting = start(64 * MIB).finally(() => {
      process.env['PATH'] = PATH;
    });
    const { exits, takeMiB } = await starting;
    await takeMiB(256).catch(() => {});
    await expect.poll(() => exits, { timeout: 10_000 }).toMatchObject([{ reason: 'memory', signal: 'SIGKILL' }]);
  });
});
