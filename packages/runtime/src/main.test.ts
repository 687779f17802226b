import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BrinkError, ERROR_TABLE, type ErrorCode } from '@brink/protocol';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { exitCodeOf } from './main.ts';

const folder = mkdtempSync(join(tmpdir(), 'brink-main-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const runtime = fileURLToPath(new URL('./index.ts', import.meta.url));
const protocol = fileURLToPath(new URL('../../protocol/src/index.ts', import.meta.url));
const processes: ChildProcess[] = [];
afterEach(() => {
  for (const child of processes.splice(0)) child.kill('SIGKILL');
});

/** A process whose service is `{ start() { … }, stop() { … } }`. */
function run(service: string, env: Record<string, string> = {}, options = '') {
  const path = join(folder, `${Math.random().toString(36).slice(2)}.mjs`);
  writeFileSync(
    path,
    `import { runMain } from ${JSON.stringify(runtime)};
     import { BrinkError } from ${JSON.stringify(protocol)};
     await runMain({ service: 'gateway', create: (env, logger) => (${service}), ${options} });`,
  );
  const child = spawn(process.execPath, [path], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH']!, ...env },
  });
  processes.push(child);
  let stderr = '';
  let stdout = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  const ended = new Promise<number | string | null>((resolve) =>
    child.once('close', (code, signal) => resolve(code ?? signal)),
  );
  const said = (what: string) => expect.poll(() => stdout + stderr, { timeout: 10_000 }).toContain(what);
  return { child, ended, said, stderr: () => stderr, stdout: () => stdout };
}
const UP = "start: async () => console.log('up'), stop: async () => console.log('stopped by hand')";

describe('the process edge', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`${signal} stops the service and exits 0`, async () => {
      const { child, ended, said, stdout } = run(`{ ${UP} }`);
      await said('up');
      child.kill(signal);
      expect(await ended).toBe(0);
      expect(stdout()).toContain('stopped by hand');
    });
  }

  test('a signal while starting aborts the start and exits 0', async () => {
    const service = `{
      start: (signal) => new Promise((_, reject) => { console.log('starting'); setInterval(() => {}, 1000); signal.addEventListener('abort', () => reject(signal.reason)); }),
      stop: async () => {} }`;
    const { child, ended, said, stderr } = run(service);
    await said('starting');
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(stderr()).toBe('');
  });

  test('a second signal exits at once', async () => {
    const { child, ended, said } = run(
      `{ start: async () => console.log('up'), stop: () => new Promise(() => console.log('stopping')) }`,
    );
    await said('up');
    child.kill('SIGINT');
    await said('stopping');
    child.kill('SIGINT');
    expect(await ended).toBe(130);
  });

  test('a stop that does not end is cut after its limit, exit 70', async () => {
    const { child, ended, said } = run(
      `{ start: async () => console.log('up'), stop: () => new Promise(() => {}) }`,
      {},
      'stopMsMax: 50',
    );
    await said('up');
    child.kill('SIGTERM');
    expect(await ended).toBe(70);
  });

  test('with BRINK_PARENT_PIPE the end of stdin is the end of the parent', async () => {
    const { child, ended, said, stdout } = run(`{ ${UP} }`, { BRINK_PARENT_PIPE: '1' });
    await said('up');
    child.stdin!.end();
    expect(await ended).toBe(0);
    expect(stdout()).toContain('stopped by hand');
  });

  test('negative control: without it the end of stdin means nothing', async () => {
    const { child, said, ended } = run(
      `{ start: async () => { process.stdin.resume().on('end', () => console.log('stdin ended')); console.log('up'); setInterval(() => {}, 1000); }, stop: async () => {} }`,
    );
    await said('up');
    child.stdin!.end();
    await said('stdin ended');
    expect(child.exitCode).toBeNull();
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
  });
});

describe('an error at start', () => {
  for (const [code, exit] of [
    ['E_PORT', 69],
    ['E_LOCKED', 75],
    ['E_CONFIG', 78],
    ['E_UNAVAILABLE', 70],
  ] as const) {
    test(`${code} is one line on stderr and exit ${exit}; what was started is stopped`, async () => {
      const { ended, stderr, stdout } = run(
        `{ start: async () => { throw new BrinkError('${code}', 'port 9101\\n  is taken'); }, stop: async () => console.log('undone') }`,
      );
      expect(await ended).toBe(exit);
      expect(stderr()).toBe(`brink gateway: ${code}: port 9101; is taken\n`);
      expect(stdout()).toContain('undone');
    });
  }

  test('that nobody foresaw is exit 70, with its stack in the log', async () => {
    const { ended, stderr, stdout } = run(
      "{ start: async () => { throw new TypeError('x is not a function'); }, stop: async () => {} }",
    );
    expect(await ended).toBe(70);
    expect(stderr()).toBe('brink gateway: E_INTERNAL: x is not a function\n');
    expect(stdout()).toContain('TypeError');
  });

  test('in the settings names the setting', async () => {
    const { ended, stderr } = run(`{ ${UP} }`, { BRINK_LOG_LEVEL: 'loud' });
    expect(await ended).toBe(78);
    expect(stderr()).toMatch(/^brink gateway: E_SETTING: BRINK_LOG_LEVEL is "loud": .*\n$/);
  });

  test('in `create` ends the same way', async () => {
    const { ended, stderr } = run("(() => { throw new BrinkError('E_SETTING', 'no'); })()");
    expect(await ended).toBe(78);
    expect(stderr()).toBe('brink gateway: E_SETTING: no\n');
  });
});

describe('an error that nobody caught', () => {
  for (const [what, code] of [
    ['thrown', "setTimeout(() => { throw new Error('lost'); }, 10)"],
    ['rejected', "void Promise.reject(new Error('lost'))"],
  ]) {
    test(`${what}, is a fatal line and exit 70`, async () => {
      const { ended, stdout } = run(
        `{ start: async () => { ${code}; setInterval(() => {}, 1000); }, stop: async () => {} }`,
      );
      expect(await ended).toBe(70);
      const line = stdout()
        .split('\n')
        .find((text) => text.includes('lost'))!;
      expect(JSON.parse(line)).toMatchObject({ level: 60, service: 'gateway' });
    });
  }

  test('a reader of our log that goes away ends nothing', async () => {
    const service = `{ start: async () => { let n = 0; setInterval(() => { logger.info({}, 'tick'); console.error('tick ' + n++); }, 5); }, stop: async () => {} }`;
    const { child, ended, said, stderr } = run(service);
    await said('tick');
    child.stdout!.destroy();
    const before = stderr().length;
    await expect.poll(() => stderr().length).toBeGreaterThan(before + 100);
    expect(child.exitCode).toBeNull();
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
  });
});

test('every code has an exit status that sysexits.h knows', () => {
  for (const code of Object.keys(ERROR_TABLE) as ErrorCode[]) {
    expect([69, 70, 75, 78]).toContain(exitCodeOf(new BrinkError(code, '')));
  }
});
