import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Decision, Status } from '@brink/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { List } from '../harness/api.ts';
import { events, noProgram, shell } from '../harness/commands.ts';
import { type Fleet, repository, startFleet } from '../harness/fleet.ts';
import { noOthers } from '../harness/others.ts';
import { freePorts } from '../harness/up.ts';
import { makeSite } from '../streams/make.ts';

// The guides say that what stands in them was run. Here it is run again: the commands of streams.md, the bridge of cameras.md, the
// programs of your-own-device.md; one fleet for all, and all of them at once.

const guide = (name: string) => readFileSync(join(repository, 'docs', name), 'utf8');
const skipped = (title: string, reason: string | undefined) =>
  reason === undefined ? title : `${title} (skipped: ${reason})`;

const folder = mkdtempSync(join(tmpdir(), 'brink-guides-'));
const { config, models } = makeSite(folder);
interface Site {
  streams: Record<string, object>;
}
const [others, site] = ['others.yaml', 'streams.yaml'].map((file) =>
  existsSync(join(config, file)) ? (parse(readFileSync(join(config, file), 'utf8')) as Site) : { streams: {} },
) as [Site, Site];

const streams = {
  // A machine that runs all of this at once may be late; on what is old nothing is decided.
  ...Object.fromEntries(
    Object.entries({ ...site.streams, ...others.streams }).map(([name, stream]) => [
      name,
      'delivery' in stream ? stream : { ...stream, frame_age_ms_max: 30_000 },
    ]),
  ),
};

let fleet: Fleet;
beforeAll(async () => {
  fleet = await startFleet({ configuration: { ...site, streams }, models });
});
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

describe.concurrent('docs/streams.md', () => {
  /** A block of commands and the block that they are said to print. */
  const examples = [...guide('streams.md').matchAll(/```sh\n([^`]+)```\n```\n([^`]+)```/g)].map(
    ([, command = '', printed = '']) => ({
      command,
      first: command.split('\n')[0]?.slice(0, 70),
      printed: printed.split('\n').filter((line) => line !== '' && line !== '…'),
    }),
  );

  it('has a command for every stream of its site', () => {
    const text = examples.map(({ command }) => command).join();
    // Those two are of the programs in your-own-device.md, which are run below.
    const names = Object.keys({ ...site.streams, ...others.streams }).filter((name) => !/^(vibration|raw)$/.test(name));
    expect(names.length).toBeGreaterThan(5);
    for (const name of names) expect(text).toMatch(new RegExp(`[ /]${name}[ \\n]`));
  });

  /** A line of decisions without its time of day and its ms; numbers apart: they may differ in the last digit elsewhere. */
  function said(line: string): { words: string; numbers: number[] } {
    const bare = line.replace(/\d\d:\d\d:\d\d /, '').replace(/ {2}[\d.]+ ms$/, '');
    const number = /(?<=\s)\d+(?:\.\d+)?(?=\s|$)/g;
    return { words: bare.replace(number, '#'), numbers: [...bare.matchAll(number)].map(([text]) => Number(text)) };
  }
  const near = (a: readonly number[], b: readonly number[]) =>
    a.every((value, i) => Math.abs(value - (b[i] ?? Number.NaN)) <= 0.02 + 0.01 * Math.abs(value));

  for (const { command, first, printed } of examples) {
    const why =
      noProgram(...['mosquitto_pub', 'ffmpeg'].filter((name) => command.includes(name))) ??
      (command.includes('../shared') ? noOthers : undefined);
    it.skipIf(why !== undefined)(skipped(`prints what it says: ${first}`, why), async () => {
      const here = command.replaceAll('/tmp/outbox', join(folder, 'outbox')).replace('sleep 1', 'sleep 3');
      const { code, out, err } = await shell(here, fleet);
      expect(code, err).toBe(0);
      const lines = out.trimEnd().split('\n').map(said);
      let at = 0;
      for (const expected of printed.map(said)) {
        const found = lines.findIndex(
          ({ words, numbers }, i) => i >= at && words === expected.words && near(expected.numbers, numbers),
        );
        expect(found, `${JSON.stringify(expected)} in\n${out}${err}`).toBeGreaterThanOrEqual(at);
        at = found + 1;
      }
    });
  }
});

it.concurrent('brink send --watch says what was refused and why, and is exit 1', async () => {
  const { code, out, err } = await shell(
    `printf 'no picture' | brink send cam-4 front - --fast --watch --wait-ms 1500`,
    fleet,
  );
  expect([code, out]).toEqual([1, '']);
  expect(err).toMatch(/frame 1 was refused: E_IMAGE_TYPE: .*text\/plain/);
});

const noFfmpeg = noProgram('ffmpeg');
describe.skipIf(noFfmpeg !== undefined)(skipped('docs/cameras.md', noFfmpeg), { concurrent: true }, () => {
  const film = 'ffmpeg -nostdin -v error -re -loop 1 -framerate 10 -i packages/device/pictures/chelsea.jpg -t 1.5';
  const asPictures = /-vf fps=5,scale=640:-2 -f image2pipe -c:v mjpeg -q:v 4 -/.exec(guide('cameras.md'))?.[0];

  async function bridge(line: string): Promise<{ frames: number; left_out: number; decisions: Decision[] }> {
    const { code, out, err } = await shell(line, fleet);
    expect(code, err).toBe(0);
    const all = events(out);
    const decisions = all.filter(({ event }) => event === 'decision') as unknown as Decision[];
    for (const { label } of decisions) expect(label).toBe('cat');
    expect(decisions.length).toBeGreaterThan(0);
    return { ...(all.find(({ event }) => event === 'sent') as { frames: number; left_out: number }), decisions };
  }

  it('what ffmpeg makes of a film is decided', async () => {
    const sent = await bridge(`${film} ${asPictures} | brink send cam-5 front --mjpeg - --watch --json`);
    expect(sent.frames + sent.left_out).toBe(8);
    await fleet.api.until<Status>('/v1/status', ({ laws }) => {
      const row = laws.streams.items.find(({ device }) => device === 'cam-5');
      return row?.received === sent.frames && laws.streams.holds && laws.pipelines.holds;
    });
  });

  it('H.264 comes over RTSP, decisions go out', async () => {
    const [port] = await freePorts(1);
    const url = `rtsp://127.0.0.1:${port}/cam`;
    // ffmpeg serves nobody, but it listens to who pushes: the same protocol, the other way round.
    const reader = `ffmpeg -nostdin -v fatal -rtsp_flags listen -i ${url} -an ${asPictures}`;
    const push = `${film} -vf scale=640:-2 -g 5 -c:v libx264 -pix_fmt yuv420p -tune zerolatency -f rtsp -rtsp_transport tcp`;
    const camera = `for try in 1 2 3 4 5 6 7 8 9; do ${push} ${url} 2>/dev/null && break; sleep 0.3; done`;
    await bridge(`(${camera}) & ${reader} | brink send cam-6 front --mjpeg - --watch --json`);
  });
});

describe.concurrent('docs/your-own-device.md', () => {
  const program = (language: string) =>
    new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``).exec(guide('your-own-device.md'))?.[1] ?? '';
  const works = (command: string) => spawnSync('sh', ['-c', command]).status === 0;
  const noPaho = works('python3 -c "import paho.mqtt.client as c; c.CallbackAPIVersion"')
    ? undefined
    : 'python3 has no paho.mqtt 2';
  const noC = works('echo "#include <mosquitto.h>" | cc -E -') ? undefined : 'no C compiler, or no mosquitto.h';

  /** Runs it for so many frames, throws it out in the middle; each frame must be decided once, in a window of its own. */
  async function sends(command: string, device: string, count: number): Promise<void> {
    const running = shell(`${command} 127.0.0.1 ${new URL(fleet.mqttUrl).port} ${count}`, fleet);
    await fleet.api.until<Status>('/v1/status', ({ laws }) =>
      laws.streams.items.some((row) => row.device === device && row.accepted >= 3),
    );
    // A client of the same name takes its place.
    const other = await fleet.client({ clientId: device, reconnectPeriod: 0 });
    await other.endAsync(true);
    const { code, err } = await running;
    expect(code, err).toBe(0);
    const { items } = await fleet.api.until<List<Decision>>(
      `/v1/decisions?device=${device}&limit=500`,
      (list) => list.items.length >= count,
    );
    const numbers = items.map(({ frames }) => frames.last).toSorted((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: count }, (_, i) => i + 1));
    expect(items.every(({ outcome }) => outcome === 'decided')).toBe(true);
  }

  it.skipIf(noPaho !== undefined)(skipped('the sensor in Python', noPaho), async () => {
    const file = join(folder, 'pump.py');
    writeFileSync(file, program('python'));
    await sends(`python3 ${file}`, 'pump-1', 12);
  });

  it.skipIf(noC !== undefined)(skipped('the sensor in C', noC), async () => {
    const [source, binary] = [join(folder, 'pump.c'), join(folder, 'pump')];
    writeFileSync(source, program('c'));
    execFileSync('sh', ['-c', `cc -Wall -Wextra -Werror -o ${binary} ${source} -lmosquitto`]);
    await sends(binary, 'pump-2', 12);
  });
});

it('all of it leaves the books in order', async () => {
  const { laws } = await fleet.api.until<Status>('/v1/status', ({ laws: { pipelines } }) =>
    pipelines.items.every(({ pending }) => pending === 0),
  );
  expect([laws.streams.holds, laws.pipelines.holds]).toEqual([true, true]);
});
