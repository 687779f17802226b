import type { ChildProcess } from 'node:child_process';
import { PassThrough } from 'node:stream';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { createTestClock } from './clock.ts';
import { type ExitReason, reasonOf } from './exits.ts';
import { forwardLines } from './lines.ts';

const end = { code: null, signal: null, killed: undefined, stopping: false, tail: '', spawnError: undefined } as const;

describe('the reason of an end', () => {
  const cases: [string, Partial<Parameters<typeof reasonOf>[0]>, ExitReason][] = [
    ['stop', { code: 0, stopping: true }, 'stopped'],
    ['stop that had to kill', { signal: 'SIGKILL', killed: 'stop', stopping: true }, 'stopped'],
    ['a deadline', { signal: 'SIGKILL', killed: 'deadline' }, 'killed-deadline'],
    ['a kill for another reason', { signal: 'SIGKILL', killed: 'wedged' }, 'killed'],
    ['no hello', { signal: 'SIGKILL', killed: 'not-up' }, 'not-up'],
    ['SIGKILL that we did not send', { signal: 'SIGKILL' }, 'oom'],
    ["V8's last words", { signal: 'SIGABRT', tail: 'FATAL ERROR: JavaScript heap out of memory' }, 'oom'],
    ["C++'s last words", { signal: 'SIGABRT', tail: "terminate called after throwing 'std::bad_alloc'" }, 'oom'],
    ['more memory than it may hold', { signal: 'SIGKILL', killed: 'memory' }, 'memory'],
    ['a fresh one that takes over', { signal: 'SIGKILL', killed: 'recycled' }, 'recycled'],
    ['an exit', { code: 1 }, 'crashed'],
    ['an exit with 0 that nobody asked for', { code: 0 }, 'crashed'],
    ['a segmentation fault', { signal: 'SIGSEGV' }, 'crashed'],
    ['a program that is not there', { spawnError: new Error('ENOENT') }, 'not-spawned'],
  ];
  for (const [what, how, reason] of cases) {
    test(`${what} is ${reason}`, () => expect(reasonOf({ ...end, ...how })).toBe(reason));
  }
});

describe('the lines of a child', () => {
  function speak() {
    const lines: Record<string, unknown>[] = [];
    const logger = pino({}, { write: (text: string) => void lines.push(JSON.parse(text)) });
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    const clock = createTestClock();
    const tail = forwardLines({ stdout, stderr } as unknown as ChildProcess, logger, clock);
    const settled = () => new Promise((resolve) => setImmediate(resolve));
    return { lines, stdout, stderr, clock, tail, settled };
  }

  test('the line that says why is kept, however long the stack behind it', async () => {
    const { stderr, tail, settled } = speak();
    stderr.write('FATAL ERROR: JavaScript heap out of memory\n');
    for (let i = 0; i < 40; i++) stderr.write(` ${i}: 0x931db0  [node] ${'frame '.repeat(20)}\n`);
    await settled();
    expect(tail()).toMatch(/^FATAL ERROR: JavaScript heap out of memory\n/);
    expect(tail()).toContain(' 39: ');
  });

  test('go to our log, whole, whatever pieces they come in', async () => {
    const { lines, stdout, stderr, settled, tail } = speak();
    stdout.write('he');
    stdout.write('llo\nwor');
    stdout.end('ld');
    stderr.end('oops\n');
    await settled();
    expect(lines.map(({ stdout: out, stderr: err }) => out ?? err)).toEqual(
      expect.arrayContaining(['hello', 'world', 'oops']),
    );
    expect(tail()).toBe('oops');
  });

  test('are cut in length and number, and the dropped are counted', async () => {
    const { lines, stderr, clock, settled, tail } = speak();
    for (let i = 0; i < 500; i++) stderr.write(`${'x'.repeat(5000)}\n`);
    await settled();
    expect(lines).toHaveLength(50);
    expect(String(lines[0]?.['stderr'])).toHaveLength(2000);
    await clock.advance(1000);
    stderr.write('again\n');
    await settled();
    expect(lines).toMatchObject({ 50: { dropped: 450 }, 51: { stderr: 'again' } });
    expect(tail().length).toBeLessThanOrEqual(2000);
  });

  test('that never end are not kept', async () => {
    const { lines, stdout, settled } = speak();
    for (let i = 0; i < 200; i++) stdout.write('x'.repeat(10_000));
    stdout.end();
    await settled();
    expect(lines).toHaveLength(1);
    expect(String(lines[0]?.['stdout'])).toHaveLength(2000);
  });
});
