import { type Dimension, encode, graph, model, node, readModel, value } from '@brink/onnx';
import { type Passport, PassportSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { agree } from './agreement.ts';

type Shapes = Readonly<Record<string, readonly Dimension[]>>;
const BATCH = 'batch';

/** A graph that has these tensors; what it computes is not looked at. */
function info(inputs: Shapes, outputs: Shapes = { y: [BATCH, 2] }) {
  const values = (shapes: Shapes) => Object.entries(shapes).map(([name, shape]) => value(name, 'float32', shape));
  const nodes = Object.keys(outputs).map((name) => node('Identity', [Object.keys(inputs)[0] ?? ''], [name]));
  return readModel(encode(model(graph({ inputs: values(inputs), outputs: values(outputs), nodes }))));
}

const passport = (of: object): Passport =>
  PassportSchema.parse({
    passport: 1,
    name: 'm',
    version: 1,
    task: 'classification',
    files: [{ path: 'model.onnx', sha256: '0'.repeat(64) }],
    output: { decoder: 'classification', tensors: { logits: 'y' } },
    batch_max: 4,
    ...of,
  });

const picture = { inputs: [{ tensor: 'x', image: { width: 6, height: 5 } }] };
const sound = { inputs: [{ tensor: 'x', audio: { rate_hz: 16_000, window: 512, context: 64 } }] };
const mfcc = {
  rate_hz: 16_000,
  window: 16_000,
  mfcc: { bins: 10, mels: 40, frame: 640, stride: 320, fft: 1024, layout: 'time-bins-1' },
};
const spectrum = { inputs: [{ tensor: 'x', audio: mfcc }] };
const signal = { inputs: [{ tensor: 'x', signal: { rate_hz: 100, window: 20, channels: ['a', 'b'] } }] };
const state = { in: 's', out: 't', shape: [2, 1, 8] };

const agreed = (of: object, inputs: Shapes, outputs?: Shapes) => agree(passport(of), info(inputs, outputs));
const problem = (of: object, inputs: Shapes, outputs?: Shapes) => {
  try {
    agreed(of, inputs, outputs);
    return 'agreed';
  } catch (error) {
    return String((error as Error).message);
  }
};

describe('passport and graph agree', () => {
  it.each<[string, object, readonly Dimension[]]>([
    ['a picture', picture, [BATCH, 3, 5, 6]],
    ['a picture of any size', picture, [BATCH, 3, 'h', 'w']],
    ['a picture with unnamed dimensions', picture, [undefined, 3, undefined, undefined]],
    ['sound', sound, [BATCH, 576]],
    ['sound of any length', sound, [BATCH, undefined]],
    ['sound with a channel', sound, [BATCH, 1, 576]],
    ['a spectrum', spectrum, [BATCH, 49, 10, 1]],
    ['a spectrum whose channel comes first', spectrum, [BATCH, 1, 49, 10]],
    ['a spectrum without a channel', spectrum, [BATCH, 49, 10]],
    ['a signal', signal, [BATCH, 2, 20]],
  ])('%s, in batches', (_name, of, shape) => {
    expect(agreed(of, { x: shape })).toMatchObject({ batchMax: 4, single: false });
  });

  it.each<[string, object, readonly Dimension[]]>([
    ['a picture', picture, [1, 3, 5, 6]],
    ['sound', sound, [1, 576]],
    ['sound without a batch', sound, [576]],
    ['a spectrum', spectrum, [1, 49, 10, 1]],
    ['a signal', signal, [1, 2, 20]],
  ])('%s, one at a time', (_name, of, shape) => {
    expect(agreed({ ...of, batch_max: 1 }, { x: shape })).toMatchObject({ batchMax: 1, single: true });
    expect(problem(of, { x: shape })).toMatch(
      /^E_PASSPORT: batch_max: 4; expected 1: the graph takes one unit at a time/,
    );
  });

  it.each<[string, object, readonly Dimension[], string]>([
    [
      'a picture',
      picture,
      [BATCH, 3, 6, 5],
      'inputs[0].image: [batch, 3, 5, 6]; expected what the graph takes: "x" float32 [batch, 3, 6, 5]',
    ],
    [
      'a picture of other rank',
      picture,
      [BATCH, 90],
      'inputs[0].image: [batch, 3, 5, 6]; expected what the graph takes: "x" float32 [batch, 90]',
    ],
    [
      'sound',
      sound,
      [BATCH, 512],
      'inputs[0].audio: [batch, 576]; expected what the graph takes: "x" float32 [batch, 512]',
    ],
    [
      'a spectrum',
      spectrum,
      [BATCH, 49, 40, 1],
      'inputs[0].audio: [batch, 49, 10, 1]; expected what the graph takes: "x" float32 [batch, 49, 40, 1]',
    ],
    [
      'a signal',
      signal,
      [BATCH, 20, 2],
      'inputs[0].signal: [batch, 2, 20]; expected what the graph takes: "x" float32 [batch, 20, 2]',
    ],
    [
      'a batch of four pictures',
      picture,
      [4, 3, 5, 6],
      'inputs[0].image: [batch, 3, 5, 6]; expected a free first dimension, or 1; "x" float32 [4, 3, 5, 6] has a fixed batch',
    ],
    [
      'a batch of four signals',
      signal,
      [4, 2, 20],
      'inputs[0].signal: [batch, 2, 20]; expected a free first dimension, or 1; "x" float32 [4, 2, 20] has a fixed batch',
    ],
  ])('%s, given and expected where they do not', (_name, of, shape, expected) => {
    expect(problem(of, { x: shape })).toContain(`E_PASSPORT: ${expected}`);
  });

  it('states by their shape, with the batch where the graph has it', () => {
    const of = { ...sound, state: [state] };
    const next: Shapes = { y: [BATCH, 2], t: [2, undefined, 8] };
    expect(agreed(of, { x: [BATCH, 576], s: [2, BATCH, 8] }, next).single).toBe(false);
    expect(agreed({ ...of, batch_max: 1 }, { x: [BATCH, 576], s: [2, 1, 8] }, next).single).toBe(true);
    expect(agreed(of, { x: [BATCH, 576], s: [2, BATCH, 8] }, next).heads.map(({ name }) => name)).toEqual(['x', 's']);
    expect(problem(of, { x: [BATCH, 576], s: [2, BATCH, 9] }, next)).toContain(
      'E_PASSPORT: state[0].shape: [2, 1, 8]; expected as the graph has "s": float32 [2, batch, 9]',
    );
    expect(problem(of, { x: [BATCH, 576], s: [2, BATCH, 8] }, { ...next, t: [BATCH, 8] })).toContain(
      'E_PASSPORT: state[0].shape: [2, 1, 8]; expected as the graph has "t": float32 [batch, 8]',
    );
    expect(problem(of, { x: [BATCH, 576], s: [2, BATCH, 8] })).toMatch(/state\[0\]\.out: "t"; expected one of/);
  });

  it('names what nobody speaks of, what is not there, and what is there twice', () => {
    const both: Shapes = { x: [BATCH, 576], sr: [] };
    expect(problem(sound, both)).toMatch(
      /^E_PASSPORT: inputs: nothing; expected "sr" float32 \[\], which the graph takes/,
    );
    const constant = { tensor: 'sr', constant: 16_000, dtype: 'float32' };
    expect(problem({ inputs: [...sound.inputs, constant] }, both)).toBe('agreed');
    expect(problem({ inputs: [...sound.inputs, constant] }, { x: [BATCH, 576] })).toMatch(/inputs\[1\]\.tensor: "sr"/);
    expect(problem({ inputs: [...sound.inputs, ...sound.inputs] }, { x: [BATCH, 576] })).toMatch(/inputs: "x" twice/);
    expect(problem(picture, { x: [BATCH, 3, 5, 6] }, { z: [BATCH, 2] })).toMatch(
      /output\.tensors\.logits: "y"; expected one of "z" float32 \[batch, 2\]/,
    );
  });
});
