import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Decision } from '@brink/protocol';
import type { MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { List } from '../harness/api.ts';
import { type Fleet, startFleet } from '../harness/fleet.ts';
import { installOther, noOthers, readShared } from '../harness/others.ts';

// Sound over MQTT, in frames as devices send them, through models that nobody here has trained: what is decided must be what the
// file as a whole gives, wherever it was cut.

const site = {
  version: 1,
  streams: {
    wav: { format: 'audio', frame_age_ms_max: 60_000, pipelines: { 'wav-words': { model: 'keyword-spotting' } } },
    pcm: {
      format: 'audio',
      audio: { encoding: 's16le', rate_hz: 16_000 },
      frame_age_ms_max: 60_000,
      pipelines: { 'pcm-words': { model: 'keyword-spotting' } },
    },
    voice: {
      delivery: 'durable',
      format: 'audio',
      audio: { encoding: 's16le' },
      frame_age_ms_max: 60_000,
      pipelines: { speech: { model: 'silero-vad' } },
    },
  },
};

/** The samples of a WAV file of 16-bit mono. */
const pcmOf = (wav: Buffer) => wav.subarray(wav.indexOf('data') + 8);

const title = noOthers === undefined ? 'sound' : `sound (skipped: ${noOthers})`;

describe.skipIf(noOthers !== undefined)(title, () => {
  let fleet: Fleet;
  let models: string;
  let client: MqttClient;
  beforeAll(async () => {
    models = mkdtempSync(join(tmpdir(), 'brink-models-'));
    for (const name of ['keyword-spotting', 'silero-vad']) installOther(models, name);
    fleet = await startFleet({ configuration: site, models });
    client = await fleet.client();
  });
  afterAll(async () => {
    await fleet?.[Symbol.asyncDispose]();
    rmSync(models, { recursive: true, force: true });
  });

  const decisionsOf = async (device: string, count: number): Promise<Decision[]> => {
    const found: Decision[] = [];
    for (let after = 0; found.length < count; after = found.at(-1)?.n ?? 0) {
      const path = `/v1/decisions?device=${device}&after=${after}&limit=500`;
      const { items } = await fleet.api.until<List<Decision>>(path, ({ items: some }) => some.length > 0);
      found.push(...items);
    }
    return found;
  };

  it('says "yes" in a WAV file, and in raw samples of it in five frames', async () => {
    const wav = readShared('data/voice/yes_1000ms.wav');
    await client.publishAsync('brink/mic-1/up/frames/wav/k3v9-1', wav, { qos: 1 });
    const [whole] = await decisionsOf('mic-1', 1);
    expect(whole).toMatchObject({ outcome: 'decided', label: 'yes', id: 'mic-1.wav.k3v9.1.0.wav-words' });
    expect(whole?.frames).toEqual({ boot: 'k3v9', first: 1, last: 1, received: 1 });

    const pcm = pcmOf(wav);
    for (let i = 0; i < 5; i++) {
      const part = pcm.subarray((i * 32_000) / 5, ((i + 1) * 32_000) / 5);
      await client.publishAsync(`brink/mic-2/up/frames/pcm/k3v9-${i + 1}`, part, { qos: 1 });
    }
    const [pieces] = await decisionsOf('mic-2', 1);
    expect(pieces).toMatchObject({ label: 'yes', score: whole?.score, id: 'mic-2.pcm.k3v9.5.0.pcm-words' });
    expect(pieces?.frames).toEqual({ boot: 'k3v9', first: 1, last: 5, received: 5 });
  });

  /** Cuts as a device might, by a seeded choice of sizes. */
  function* chunks(pcm: Buffer, random: () => number): Generator<Buffer> {
    for (let at = 0; at < pcm.length; ) {
      const samples = random() < 0.3 ? 1 + Math.floor(random() * 40) : 200 + Math.floor(random() * 3000);
      yield pcm.subarray(at, at + samples * 2);
      at += samples * 2;
    }
  }

  it('says where speech is, whatever the size of the frames, with the state of a recurrent model carried on', async () => {
    const pcm = pcmOf(readShared('models/silero-vad/test.wav')).subarray(0, 2 * 16_000 * SECONDS);
    const random = seeded(5);
    let seq = 0;
    for (const part of chunks(pcm, random)) {
      seq += 1;
      void client.publishAsync(`brink/mic-3/up/frames/voice/k3v9-${seq}`, part, { qos: 1 });
    }
    const count = Math.floor(pcm.length / 2 / 512);
    const decisions = await decisionsOf('mic-3', count);
    expect(decisions).toHaveLength(count);
    expect(decisions.every(({ outcome }) => outcome === 'decided')).toBe(true);
    const speech = decisions.map(({ values }) => values?.['speech'] ?? Number.NaN);
    // What upstream's own code gives for this recording (services/inference/test/other-models.test.ts).
    expect(speech.slice(0, 4).map((probability) => probability.toFixed(3))).toEqual([
      '0.208',
      '0.818',
      '0.891',
      '0.996',
    ]);
    expect(new Set(decisions.map(({ id }) => id)).size).toBe(count);
    const share = (speech.filter((probability) => probability > 0.5).length / count) * 100;
    if (SECONDS === 60) expect(share.toFixed(1)).toBe('77.4');
  });
});

/** The first so many seconds of the recording; all of it in the long tests. */
const SECONDS = process.env['BRINK_TEST_SIZE'] === 'long' ? 60 : 4;

/** Park and Miller's minimal standard generator. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}
