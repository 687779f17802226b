import type { Decision, Status } from '@brink/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { events, noProgram, shell } from '../harness/commands.ts';
import { type Fleet, startFleet } from '../harness/fleet.ts';
import { freePorts } from '../harness/up.ts';

// `brink send` as people use it: a process, its pipes, the whole fleet behind it.

const site = {
  version: 1,
  streams: {
    front: { format: 'image', frame_bytes_max: 4_194_304, pipelines: { pets: { model: 'cifar-net' } } },
    kept: { format: 'image', delivery: 'durable', pipelines: { all: { model: 'cifar-net' } } },
  },
};
const cat = 'packages/device/pictures/chelsea.jpg';

let fleet: Fleet;
beforeAll(async () => {
  fleet = await startFleet({ configuration: site });
});
afterAll(() => fleet?.[Symbol.asyncDispose]());

const decided = (out: string) => events(out).filter(({ event }) => event === 'decision') as unknown as Decision[];
const summary = (out: string) => events(out).find(({ event }) => event === 'sent');

const noFfmpeg = noProgram('ffmpeg');
describe.skipIf(noFfmpeg !== undefined)(`the bridge for cameras${noFfmpeg ? ` (skipped: ${noFfmpeg})` : ''}`, () => {
  const film = `ffmpeg -nostdin -v error -re -loop 1 -framerate 10 -i ${cat} -t 1.5`;
  const asPictures = '-an -vf fps=5,scale=640:-2 -f image2pipe -c:v mjpeg -q:v 4 -';

  it('makes decisions of what ffmpeg reads', async () => {
    const { code, out, err } = await shell(
      `${film} ${asPictures} | brink send cam-7 front --mjpeg - --watch --json`,
      fleet,
    );
    expect(code, err).toBe(0);
    const sent = summary(out) as { frames: number; left_out: number; boot: string };
    expect(sent.frames + sent.left_out).toBe(8);
    const decisions = decided(out);
    expect(decisions.length).toBeGreaterThan(0);
    for (const decision of decisions) expect(decision).toMatchObject({ label: 'cat', frames: { boot: sent.boot } });
    await fleet.api.until<Status>('/v1/status', ({ laws }) => {
      const row = laws.streams.items.find(({ device }) => device === 'cam-7');
      return row?.received === sent.frames && laws.streams.holds && laws.pipelines.holds;
    });
  });

  it('reads RTSP: H.264 comes over TCP, pictures go out', async () => {
    const [port] = await freePorts(1);
    const url = `rtsp://127.0.0.1:${port}/cam`;
    // ffmpeg serves nobody, but it listens to who pushes: the same protocol, the other way round.
    const reader = `ffmpeg -nostdin -v fatal -rtsp_flags listen -i ${url} ${asPictures}`;
    const push = `${film} -vf scale=640:-2 -g 5 -c:v libx264 -pix_fmt yuv420p -tune zerolatency -f rtsp -rtsp_transport tcp`;
    const camera = `for try in 1 2 3 4 5 6 7 8 9; do ${push} ${url} 2>/dev/null && break; sleep 0.3; done`;
    const line = `(${camera}) & ${reader} | brink send cam-6 front --mjpeg - --watch --json`;
    const { code, out, err } = await shell(line, fleet, { msMax: 30_000 });
    expect(code, err).toBe(0);
    expect(decided(out).map(({ label }) => label)).toContain('cat');
  });
});

describe('brink send', () => {
  it('keeps frames of a durable stream until the gateway has them: as many decisions as frames, none twice', async () => {
    const keep = `--keep ${fleet.folder}/outbox`;
    const { code, out, err } = await shell(
      `brink send cam-5 kept packages/device/pictures/*.jpg --fast ${keep} --watch --json`,
      fleet,
    );
    expect(code, err).toBe(0);
    expect(summary(out)).toMatchObject({ frames: 5, waiting: 0, rejected: [] });
    expect(
      decided(out)
        .map(({ frames }) => frames.last)
        .toSorted(),
    ).toEqual([1, 2, 3, 4, 5]);
  });

  it('says what was refused, and is exit 1', async () => {
    const line = `printf 'no picture' | brink send cam-4 front - --watch --fast --wait-ms 1500`;
    const { code, err } = await shell(line, fleet);
    expect(code).toBe(1);
    expect(err).toMatch(/frame 1 was refused: E_IMAGE_TYPE: .*looks? like text\/plain/);
  });
});
