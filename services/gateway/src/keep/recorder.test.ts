import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readWav } from '@brink/decode';
import type { link, Recording } from '@brink/protocol';
import { createTestClock, silentLogger } from '@brink/runtime';
import { afterEach, describe, expect, it } from 'vitest';
import type { StreamPlan } from '../ingest/plan.ts';
import { type Recorder, Recorder as RecorderOf } from './recorder.ts';
import { type KeptFrame, Ring } from './ring.ts';

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

async function setUp(o: { dir?: string; bytesMax?: number; oneBytesMax?: number } = {}) {
  const dir = o.dir ?? (await mkdtemp(join(tmpdir(), 'brink-recordings-')));
  folders.push(dir);
  const clock = createTestClock();
  const ends: string[] = [];
  const removed: string[] = [];
  let told = Promise.withResolvers<void>();
  const note = (list: string[]) => (what: string) => {
    list.push(what);
    told.resolve();
    told = Promise.withResolvers();
  };
  /** Each end and each removal is a reason to look. */
  const until = async (isSo: () => boolean) => {
    while (!isSo()) await told.promise;
  };
  const ring = new Ring({ sourceBytesMax: 1e6, bytesMax: 1e6 }, { clock, keepMs: () => 10_000, onGone() {} });
  const plan = { name: 'front', keepMs: 10_000, mask: undefined } as unknown as StreamPlan;
  const recorder: Recorder = new RecorderOf(
    { dir, gateway: 'gateway-1', bytesMax: o.bytesMax ?? 1e6, oneBytesMax: o.oneBytesMax ?? 1e6, ageMsMax: 86_400_000 },
    {
      ...{ clock, logger: silentLogger, ring, plan: () => plan },
      onEnd: note(ends),
      onRemoved: note(removed),
    },
  );
  await recorder.start();
  const frame = (seq: number, over: Partial<KeptFrame> = {}): void => {
    const kept: KeptFrame = {
      ...{ device: 'cam-1', stream: 'front', boot: 'k3v9', seq, receivedMs: clock.now(), type: 'image/jpeg' },
      bytes: Buffer.from(`picture ${seq}`),
      ...over,
    };
    ring.add(kept);
    recorder.kept(kept);
  };
  const ask = (id: string, over: Partial<link.Record> = {}) =>
    recorder.record({
      ...{ id, device: 'cam-1', stream: 'front', decision: 'cam-1.front.k3v9.3.0.pets', atMs: BigInt(clock.now()) },
      ...{ beforeMs: 5000, afterMs: 0, ...over },
    } as link.Record);
  const manifest = async (id: string) =>
    JSON.parse(await readFile(join(dir, id, 'manifest.json'), 'utf8')) as Recording;
  /** The manifest, when so many have ended. */
  const written = async (id: string, count = 1) => {
    await until(() => ends.length >= count);
    return manifest(id);
  };
  return { dir, clock, ring, recorder, frame, ask, manifest, written, until, ends, removed };
}

describe('a recording', () => {
  it('holds what came before, and what comes after as it comes; a manifest names whole files only', async () => {
    const { dir, clock, frame, ask, manifest, written, ends, recorder } = await setUp();
    frame(1);
    await clock.advance(6000);
    frame(2);
    await clock.advance(1000);
    frame(3);
    const { recording, frames } = await ask('cam-1.front.k3v9.3.0.pets~rule~0', { afterMs: 3000 });
    expect(frames).toBe(2);
    expect(await manifest(recording)).toMatchObject({ state: 'recording', device: 'cam-1', masked: false });
    await clock.advance(2000);
    frame(4);
    frame(9, { device: 'cam-2' });
    await clock.advance(2000);
    frame(5);
    const done = await written(recording);
    expect(done.state).toBe('complete');
    expect(done.frames.map(({ seq }) => seq)).toEqual([2, 3, 4]);
    expect(await readFile(join(dir, recording, done.frames[2]?.file ?? ''), 'utf8')).toBe('picture 4');
    expect((await readdir(join(dir, recording))).toSorted()).toEqual(
      [...done.frames.map(({ file }) => file), 'manifest.json'].toSorted(),
    );
    // The same action again: nothing is done twice.
    expect(await ask('cam-1.front.k3v9.3.0.pets~rule~0')).toEqual({ recording, frames: 3 });
    await recorder.stop();
    expect(ends).toEqual(['complete']);
  });

  it('of sound is one WAV as far as nothing is missing, and another one behind a gap', async () => {
    const { dir, frame, ask, manifest, recorder } = await setUp();
    const sound = (seq: number) =>
      frame(seq, {
        type: 'audio/wav',
        rateHz: 8000,
        bytes: new Uint8Array(new Int16Array(80).fill(seq * 1000).buffer),
      });
    for (const seq of [1, 2, 3, 5]) sound(seq);
    const { recording } = await ask('a');
    const { frames } = await manifest(recording);
    expect(frames.map(({ seq, last, type }) => [seq, last, type])).toEqual([
      [1, 3, 'audio/wav'],
      [5, undefined, 'audio/wav'],
    ]);
    const { rateHz, samples } = readWav(await readFile(join(dir, recording, frames[0]?.file ?? '')));
    expect([rateHz, samples.length, Math.round((samples[100] ?? 0) * 32_768)]).toEqual([8000, 240, 2000]);
    await recorder.stop();
  });

  it('is cut where it grows too large, and where its process ends', async () => {
    const small = await setUp({ oneBytesMax: 30 });
    for (let seq = 1; seq <= 5; seq++) small.frame(seq);
    const { recording } = await small.ask('a', { afterMs: 1000 });
    const { state, frames } = await small.written(recording);
    expect([state, frames.length]).toEqual(['cut', 3]);
    const { dir, frame, ask, recorder } = await setUp();
    frame(1);
    const { recording: other } = await ask('b', { afterMs: 5000 });
    // As after kill -9: nobody finished it. The next process says so.
    const next = await setUp({ dir });
    expect(await next.manifest(other)).toMatchObject({ state: 'cut', frames: [{ seq: 1 }] });
    await recorder.stop();
    await next.recorder.stop();
  });

  it('goes when it is old, and the oldest go where they are too many', async () => {
    const { dir, clock, frame, ask, written, until, removed, recorder } = await setUp({ bytesMax: 25 });
    const ids: string[] = [];
    for (let seq = 1; seq <= 4; seq++) {
      frame(seq);
      const { recording } = await ask(`action-${seq}`, { beforeMs: 0 });
      ids.push(recording);
      await clock.advance(100);
      expect((await written(recording, seq)).state).toBe('complete');
    }
    expect((await readdir(dir)).toSorted()).toEqual(ids.slice(2).toSorted());
    expect(removed).toEqual(['bytes', 'bytes']);
    await clock.advance(86_400_000);
    await until(() => removed.length === 4);
    expect(removed.slice(2)).toEqual(['age', 'age']);
    expect(await readdir(dir)).toEqual([]);
    await recorder.stop();
  });

  it('of what is not kept, or of what is no name, is refused', async () => {
    const { ask, frame, recorder } = await setUp();
    await expect(ask('a')).rejects.toThrow(/E_NOT_FOUND.*keep_s/);
    frame(1);
    await expect(ask('a', { device: '../../etc' })).rejects.toThrow(/E_BAD_REQUEST/);
    await expect(ask('a', { beforeMs: 600_001 })).rejects.toThrow(/E_BAD_REQUEST/);
    expect((await ask('a')).frames).toBe(1);
    await recorder.stop();
  });
});

describe('a device that is forgotten', () => {
  it('has no recording left, neither one that is being made, and no frame in memory; others keep theirs', async () => {
    const { dir, ring, recorder, frame, ask, removed } = await setUp();
    frame(1);
    frame(1, { device: 'cam-2' });
    await ask('cam-1.front.k3v9.1.0.pets~done~0');
    await ask('cam-1.front.k3v9.1.0.pets~open~0', { afterMs: 3000 });
    const { recording } = await ask('cam-2.front.k3v9.1.0.pets~rule~0', { device: 'cam-2' });
    ring.forgetDevice('cam-1');
    expect(await recorder.forgetDevice('cam-1')).toBe(2);
    expect(await readdir(dir)).toEqual([recording]);
    expect([ring.holds('cam-1', 'front'), ring.holds('cam-2', 'front')]).toEqual([false, true]);
    expect(removed).toEqual(['forgotten', 'forgotten']);
    await recorder.stop();
  });
});
