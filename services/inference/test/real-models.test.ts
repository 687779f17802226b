import { existsSync } from 'node:fs';
import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodePicture } from '@brink/decode';
import { encode, graph, model, node, simpleCnnGraph, tensor, value } from '@brink/onnx';
import { type Passport, PassportSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import {
  type Decided,
  type Inference,
  pixels,
  startInference,
  temporaryFolder,
  type Unit,
} from './harness/inference.ts';
import { sha256, WIDTH, writeModel } from './harness/models.ts';

const ROOT = join(import.meta.dirname, '../../..');
const MODELS = join(ROOT, 'models');
const SHARED = join(ROOT, '../shared/models');

/** What every unit gets alone, and what it gets among others, in batches of different neighbours. */
async function aloneAndTogether(inference: Inference, of: { name: string; passport: string }, units: Unit[]) {
  const alone: (Decided | undefined)[] = [];
  for (const unit of units) alone.push((await inference.decide(of, [unit]))[0]);
  const together = await inference.decide(of, units);
  const turned = (await inference.decide(of, [...units].reverse())).reverse();
  const raws = (all: typeof alone) => all.map((decided) => decided?.top);
  return {
    alone: raws(alone),
    together: raws(together),
    turned: raws(turned),
    batches: together.map(({ batch }) => batch),
  };
}

/** 12 noisy pictures that share nothing. */
function noise(bytes: number, shape: number[]): Unit[] {
  let state = 7;
  return Array.from({ length: 12 }, (_, unit) => ({
    pixels: Uint8Array.from({ length: bytes }, () => {
      state = (state * 48271) % 2147483647; // MINSTD
      return unit % 3 === 0 ? (state & 0x3f) + 192 : state & 0xff;
    }),
    shape,
  }));
}

describe('the models that are shipped', () => {
  it('are ready, recognise what their golden pictures show, and say so in the language of the site', async () => {
    await using inference = await startInference(MODELS, { configuration: { site: { language: 'zh' } } });
    const announced = await inference.until((all) => all.every(({ state }) => state !== 'loading'));
    expect(announced.map(({ name, state, reason }) => [name, state, reason])).toEqual([
      ['cifar-net', 'ready', ''],
      ['simple-cnn', 'ready', ''],
    ]);
    for (const name of ['cifar-net', 'simple-cnn']) {
      const folder = join(MODELS, name, '1');
      const bytes = await readFile(join(folder, 'model.json'));
      const passport = PassportSchema.parse(JSON.parse(bytes.toString()));
      const [golden, input] = [passport.golden[0], passport.inputs[0]];
      if (golden === undefined || input === undefined || !('image' in input))
        throw new Error(`${name} has no golden test`);
      const { image } = input;
      const { pictures } = await decodePicture(await readFile(join(folder, golden.input)), { targets: [image] });
      const unit = { pixels: pictures[0]?.pixels ?? new Uint8Array(), shape: [image.height, image.width, 3] };
      const [decided] = await inference.decide({ name, passport: sha256(bytes) }, [unit]);
      expect(decided?.result?.label).toBe(golden.expect.label);
      expect(decided?.result?.label_text).toMatch(/\p{Script=Han}/u);
      expect(decided?.top).toHaveLength(5);
    }
  });

  it('say the same about a frame alone and among any batch-mates', async () => {
    await using folder = await temporaryFolder();
    await cp(join(MODELS, 'simple-cnn'), join(folder.path, 'simple-cnn'), { recursive: true });
    await using inference = await startInference(folder.path);
    const [announced] = await inference.until(([first]) => first?.state === 'ready');
    const of = { name: 'simple-cnn', passport: announced?.passportSha256 ?? '' };
    const { alone, together, turned, batches } = await aloneAndTogether(
      inference,
      of,
      noise(128 * 128 * 3, [128, 128, 3]),
    );
    expect(Math.max(...batches)).toBeGreaterThan(1);
    expect(together).toEqual(alone);
    expect(turned).toEqual(alone);
  });

  it('negative control: a graph that looks at the whole batch is caught by the same comparison', async () => {
    await using folder = await temporaryFolder();
    const mixing = encode(
      model(
        graph({
          inputs: [value('x', 'float32', ['batch', 1, 1, WIDTH])],
          outputs: [value('y', 'float32', ['batch', WIDTH])],
          tensors: [tensor('shape', [2], BigInt64Array.of(-1n, BigInt(WIDTH)))],
          nodes: [
            node('ReduceMax', ['x'], ['max'], { keepdims: 0 }), // of the batch: what dynamic quantisation does
            node('Sub', ['x', 'max'], ['less']),
            node('Reshape', ['less', 'shape'], ['y']),
          ],
        }),
      ),
    );
    const passport = await writeModel(folder.path, { name: 'mixing', graph: mixing });
    await using inference = await startInference(folder.path);
    await inference.until(([first]) => first?.state === 'ready');
    const units = Array.from({ length: 12 }, (_, i) => pixels(i, 2 * i, 3 * i, 100));
    units[5] = pixels(255, 0, 0, 0);
    const { alone, together } = await aloneAndTogether(inference, { name: 'mixing', passport }, units);
    expect(together).not.toEqual(alone);
  });
});

describe('other models', () => {
  it('runs the fp32 network of the benches in batches', async () => {
    await using folder = await temporaryFolder();
    let state = 1;
    const random = () => {
      state = (state * 48271) % 2147483647;
      return state / 2147483647;
    };
    const passport = await writeModel(folder.path, {
      name: 'bench',
      graph: simpleCnnGraph(random),
      files: { 'labels.txt': 'a\nb\nc\nd\ne\nf\ng\nh\ni\nj' },
      passport: (given: Passport) => ({
        ...given,
        inputs: [{ tensor: 'image', image: { width: 128, height: 128, scale: 1 / 255 } }],
        output: { decoder: 'classification', tensors: { logits: 'logits' }, labels: { file: 'labels.txt' } },
        batch_max: 8,
      }),
    });
    await using inference = await startInference(folder.path);
    const [announced] = await inference.until(([first]) => first?.state === 'ready');
    expect(announced?.batchBest).toBeGreaterThan(1);
    const units = noise(128 * 128 * 3, [128, 128, 3]);
    const { alone, together } = await aloneAndTogether(inference, { name: 'bench', passport }, units);
    // Matrix products of different shapes add in different orders; that is all that may differ.
    for (const [i, top] of together.entries()) {
      expect(top?.[0]?.label).toBe(alone[i]?.[0]?.label);
      expect(top?.[0]?.raw).toBeCloseTo(alone[i]?.[0]?.raw ?? Number.NaN, 3);
    }
  });

  const mnist = join(SHARED, 'mnist/mnist.onnx');
  it.skipIf(!existsSync(mnist))(
    `runs other people's mnist by a passport alone (skipped without ${mnist})`,
    async () => {
      await using folder = await temporaryFolder();
      const digits = Array.from({ length: 10 }, (_, digit) => String(digit));
      const samples: Record<string, Uint8Array> = {};
      for (const digit of digits)
        samples[`golden/${digit}.png`] = await readFile(join(SHARED, `mnist/samples/${digit}.png`));
      const passport = await writeModel(folder.path, {
        name: 'mnist',
        graph: await readFile(mnist),
        files: { ...samples, 'labels.txt': digits.join('\n') },
        passport: (given: Passport) => ({
          ...given,
          inputs: [{ tensor: 'Input3', image: { width: 28, height: 28, colour: 'grey' } }],
          output: {
            decoder: 'classification',
            tensors: { logits: 'Plus214_Output_0' },
            labels: { file: 'labels.txt' },
          },
          batch_max: 1,
          golden: digits.map((digit) => ({ input: `golden/${digit}.png`, expect: { label: digit, score: 1 } })),
        }),
      });
      await using inference = await startInference(folder.path);
      const [announced] = await inference.until(([first]) => first?.state !== 'loading');
      expect(announced).toMatchObject({ state: 'ready', reason: '', passportSha256: passport });
    },
  );
});
