import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { noProgram, shell } from '../harness/commands.ts';
import { type Fleet, repository, startFleet } from '../harness/fleet.ts';
import { noOthers } from '../harness/others.ts';
import { makeSite } from '../streams/make.ts';

// docs/streams.md says that every command on it was run. Here each is run again, and must print what stands below it.

const page = readFileSync(join(repository, 'docs/streams.md'), 'utf8');

/** A block of commands and the block that they are said to print. */
const examples = [...page.matchAll(/```sh\n([^`]+)```\n```\n([^`]+)```/g)].map(([, command = '', printed = '']) => ({
  command,
  first: command.split('\n')[0] ?? '',
  printed: printed.split('\n').filter((line) => line !== '' && line !== '…'),
}));

/** A line of decisions without its time of day and its ms; numbers apart, as they may differ in the last digit elsewhere. */
function said(line: string): { words: string; numbers: number[] } {
  const bare = line.replace(/\d\d:\d\d:\d\d /, '').replace(/ {2}[\d.]+ ms$/, '');
  const number = /(?<=\s)\d+(?:\.\d+)?(?=\s|$)/g;
  return { words: bare.replace(number, '#'), numbers: [...bare.matchAll(number)].map(([text]) => Number(text)) };
}

const near = (a: readonly number[], b: readonly number[]) =>
  a.every((value, i) => Math.abs(value - (b[i] ?? Number.NaN)) <= 0.02 + 0.01 * Math.abs(value));

describe.skipIf(noOthers !== undefined)(`docs/streams.md${noOthers ? ` (skipped: ${noOthers})` : ''}`, () => {
  let fleet: Fleet;
  const folder = mkdtempSync(join(tmpdir(), 'brink-streams-'));
  beforeAll(async () => {
    const { config, models } = makeSite(folder);
    fleet = await startFleet({ configuration: readFileSync(join(config, 'streams.yaml'), 'utf8'), models });
  });
  afterAll(async () => {
    await fleet?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it('has a command for every stream of its site', () => {
    const text = examples.map(({ command }) => command).join();
    const streams = [...readFileSync(join(folder, 'config/streams.yaml'), 'utf8').matchAll(/^ {2}(\w+):/gm)].map(
      ([, name]) => name,
    );
    expect(streams.length).toBeGreaterThan(7);
    for (const stream of streams) expect(text).toMatch(new RegExp(`[ /]${stream}[ \\n]`));
  });

  for (const { command, first, printed } of examples) {
    const program = noProgram(...['mosquitto_pub', 'ffmpeg'].filter((name) => command.includes(name)));
    it.concurrent.skipIf(program !== undefined)(
      `prints what it says: ${first.slice(0, 70)}${program ? ` (skipped: ${program})` : ''}`,
      async () => {
        const { code, out, err } = await shell(
          command.replaceAll('/tmp/outbox', join(folder, 'outbox')).replace('sleep 1', 'sleep 2'),
          fleet,
        );
        expect(code, err).toBe(0);
        const lines = out.trimEnd().split('\n').map(said);
        let at = 0;
        for (const expected of printed.map(said)) {
          const found = lines.findIndex(
            (line, i) => i >= at && line.words === expected.words && near(expected.numbers, line.numbers),
          );
          expect(found, `${JSON.stringify(expected)} in\n${out}${err}`).toBeGreaterThanOrEqual(at);
          at = found + 1;
        }
      },
    );
  }
});
