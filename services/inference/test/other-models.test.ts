import { firstState, wireHeads } from '@brink/preprocess';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Decided, type Inference, startInference, temporaryFolder, type UnitTensor } from './harness/inference.ts';
import { type Installed, installBare, installOther, noOthers, readShared, unitsOf } from './harness/others.ts';
import { type Row, tableOf } from './harness/table.ts';

// Other people's models run by a passport alone, and say what their makers, or those who tried them before, say that they say
// (SOURCE.md beside each). What is prepared here goes through the code that prepares frames.

const NAMES = ['mnist', 'ultraface', 'fastestdet', 'keyword-spotting', 'silero-vad'] as const;
const REFUSED = {
  supres: ['models/super-resolution/supres.onnx', 'ai.onnx.contrib:SuperResolutionPreProcess'],
  'supres-op18': [
    'models/super-resolution/pytorch_superresolution_with_pre_post_processing_op18.onnx',
    'com.microsoft.extensions:DecodeImage',
  ],
} as const;

const title = noOthers === undefined ? 'other models' : `other models (skipped: ${noOthers})`;

describe.skipIf(noOthers !== undefined)(title, () => {
  const stack = new AsyncDisposableStack();
  const installed = new Map<string, Installed>();
  const rows: Row[] = [];
  let inference: Inference;

  beforeAll(async () => {
    const models = stack.use(await temporaryFolder());
    for (const name of NAMES) installed.set(name, await installOther(models.path, name));
    for (const [name, [from]] of Object.entries(REFUSED)) await installBare(models.path, name, from);
    inference = stack.use(await startInference(models.path));
    const count = NAMES.length + Object.keys(REFUSED).length;
    await inference.until((all) => all.length === count && all.every(({ state }) => state !== 'loading'), 60_000);
  }, 90_000);
  afterAll(async () => {
    process.stdout.write(`\n${tableOf(rows)}\n`);
    await stack.disposeAsync();
  });

  const reasonOf = (name: string) => inference.announced.find((one) => one.name === name)?.reason ?? 'not announced';

  function modelOf(name: (typeof NAMES)[number]): Installed {
    expect([name, reasonOf(name)]).toEqual([name, '']);
    return installed.get(name) as Installed;
  }

  /** One file, one unit, one answer. */
  async function ask(name: (typeof NAMES)[number], path: string): Promise<Decided & { ms: number }> {
    const model = modelOf(name);
    const [unit] = await unitsOf(await readShared(path), model);
    if (unit === undefined) throw new Error(`${path} gives no unit`);
    const startedAt = performance.now();
    const [decided] = await inference.decide({ name, passport: model.sha256 }, [unit]);
    if (decided === undefined) throw new Error('no answer');
    return { ...decided, ms: performance.now() - startedAt };
  }

  /** Into the table, and compared. */
  function told(row: Row): void {
    rows.push(row);
    expect(row.got, `${row.model}, ${row.asked}`).toBe(row.expected);
  }

  it.each(Array.from({ length: 10 }, (_, digit) => digit))('mnist sees the digit %i', async (digit) => {
    const { result, code, ms } = await ask('mnist', `models/mnist/samples/${digit}.png`);
    told({ model: 'mnist', asked: `${digit}.png`, expected: String(digit), got: code ?? result?.label ?? '', ms });
    expect(result?.score).toBeGreaterThanOrEqual(0.996);
  });

  const faces = { 13: 2, 19: 5, 2: 4, 20: 10, 3: 5, 6: 14, mnn_1: 8, mnn_4: 1, 1: 44 };
  it.each(Object.entries(faces))('ultraface finds the faces in %s.jpg: %i', async (picture, count) => {
    const { result, code, ms } = await ask('ultraface', `models/ultraface/imgs/${picture}.jpg`);
    const found = result?.objects?.length ?? code ?? 'none';
    told({ model: 'ultraface', asked: `faces in ${picture}.jpg`, expected: String(count), got: String(found), ms });
    for (const { label } of result?.objects ?? []) expect(label).toBe('face');
  });

  // As upstream's own picture shows them, which is resized without anti-alias and in the colours of its camera.
  const things = { 3: ['person .89', 'person .88', 'person .81', 'person .80'], 1: ['bus .96'] };
  it.each(Object.entries(things))('fastestdet finds the things in %s.jpg: %j, ± .035', async (picture, expected) => {
    const { result, code, ms } = await ask('fastestdet', `models/fastestdet/imgs/${picture}.jpg`);
    const found = (result?.objects ?? []).map(({ label, score }, at) => {
      const near =
        expected[at]?.startsWith(`${label} `) && Math.abs(Number(expected[at].split(' ')[1]) - score) < 0.035;
      return near === true ? expected[at] : `${label} ${score.toFixed(2).slice(1)}`;
    });
    const asked = `things in ${picture}.jpg`;
    told({ model: 'fastestdet', asked, expected: expected.join(', '), got: code ?? found.join(', '), ms });
  });

  const words = { yes: 'yes', no: 'no', silence: 'none' };
  it.each(Object.entries(words))('keyword-spotting hears %s: %s', async (clip, expected) => {
    const { result, code, top, ms } = await ask('keyword-spotting', `data/voice/${clip}_1000ms.wav`);
    told({
      model: 'keyword-spotting',
      asked: `${clip}_1000ms.wav`,
      expected,
      got: code ?? result?.label ?? '',
      ms,
    });
    // "none" is what the best of the labels that are no keyword is called.
    if (expected === 'none') expect(top[0]?.label).toBe('silence');
  });

  /** 60 s of speech in chunks of 512 samples: what upstream's own code gives for it. */
  function saysWhereSpeechIs(probabilities: readonly number[], asked: string, ms: number): void {
    const above = probabilities.filter((probability) => probability > 0.5).length;
    const share = (above / probabilities.length) * 100;
    const first = probabilities.slice(0, 4).map((probability) => probability.toFixed(3).slice(1));
    told({
      model: 'silero-vad',
      asked,
      expected: '.208 .818 .891 .996, 77.4 % of 1875',
      got: `${first.join(' ')}, ${share.toFixed(1)} % of ${probabilities.length}`,
      ms: ms / probabilities.length,
    });
  }

  /** Units of the recording far from each other, each with the state that it met and what was said of it alone. */
  const alone: { tensors: readonly UnitTensor[]; probability: number; next: Buffer }[] = [];

  it('silero-vad follows speech over the link, its state handed back with every answer', async () => {
    const model = modelOf('silero-vad');
    const units = await unitsOf(await readShared('models/silero-vad/test.wav'), model);
    const [head] = wireHeads(model.passport).slice(-1);
    const [spec] = model.passport.state;
    if (head === undefined || spec === undefined) throw new Error('no state in the passport');
    let state: Uint8Array = firstState(spec);
    const probabilities: number[] = [];
    const startedAt = performance.now();
    for (const { tensors } of units) {
      const own = [...tensors, { name: head.name, dtype: head.dtype, shape: head.shape, bytes: state }];
      const [decided] = await inference.decide({ name: 'silero-vad', passport: model.sha256 }, [{ tensors: own }]);
      expect(decided?.code).toBeUndefined();
      const probability = decided?.result?.values?.['speech'] ?? Number.NaN;
      const next = decided?.states[0] ?? Buffer.alloc(0);
      if (probabilities.length % 400 === 100) alone.push({ tensors: own, probability, next });
      probabilities.push(probability);
      state = next;
    }
    saysWhereSpeechIs(probabilities, 'speech in test.wav, over the link', performance.now() - startedAt);
  });

  it('silero-vad says the same in one batch with others, and gives each its own state back', async () => {
    const model = modelOf('silero-vad');
    const units = [...alone, ...alone.toReversed()];
    const decided = await inference.decide({ name: 'silero-vad', passport: model.sha256 }, units);
    expect(Math.max(...decided.map(({ batch }) => batch))).toBeGreaterThan(1);
    const floats = (bytes: Uint8Array = new Uint8Array()) => new Float32Array(new Uint8Array(bytes).buffer);
    for (const [at, { probability, next }] of units.entries()) {
      expect(decided[at]?.result?.values?.['speech']).toBeCloseTo(probability, 4);
      const own = floats(decided[at]?.states[0]);
      expect(own.length).toBe(256);
      const worst = floats(next).reduce(
        (most, value, i) => Math.max(most, Math.abs(value - (own[i] ?? Number.NaN))),
        0,
      );
      expect(worst).toBeLessThan(1e-4);
    }
  });

  it('silero-vad follows speech over the Open Inference Protocol, its state an ordinary tensor', async () => {
    const model = modelOf('silero-vad');
    const units = await unitsOf(await readShared('models/silero-vad/test.wav'), model);
    const { host, port } = inference.service.addresses.http;
    let state: number[] = new Array(256).fill(0);
    const probabilities: number[] = [];
    const startedAt = performance.now();
    for (const { tensors } of units) {
      const bytes = tensors[0]?.bytes ?? new Uint8Array();
      const samples = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
      const body = {
        inputs: [
          { name: 'input', datatype: 'FP32', shape: [1, samples.length], data: [...samples] },
          { name: 'state', datatype: 'FP32', shape: [2, 1, 128], data: state },
          { name: 'sr', datatype: 'INT64', shape: [], data: [16000] },
        ],
      };
      const response = await fetch(`http://${host}:${port}/v2/models/silero-vad/infer`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      const answer = (await response.json()) as { error?: string; outputs?: { name: string; data: number[] }[] };
      expect([response.status, answer.error]).toEqual([200, undefined]);
      const of = (name: string) => answer.outputs?.find((output) => output.name === name)?.data ?? [];
      probabilities.push(of('output')[0] ?? Number.NaN);
      state = of('stateN');
    }
    saysWhereSpeechIs(probabilities, 'speech in test.wav, over OIP', performance.now() - startedAt);
  });

  it.each(Object.entries(REFUSED))('%s is refused with the name of its operator', (name, [, operator]) => {
    const { state = '', reason = '' } = inference.announced.find((one) => one.name === name) ?? {};
    const got = reason.includes(`"${operator}"`) ? `${reason.split(':')[0]} "${operator}"` : reason;
    told({ model: name, asked: state, expected: `E_MODEL_OP "${operator}"`, got, ms: 0 });
    expect(state).toBe('failed');
  });
});
