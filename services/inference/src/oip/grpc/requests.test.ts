import { create, oip, toBinary } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { readMessage } from './requests.ts';
import { scanRequest } from './scan.ts';

type Init = Parameters<typeof create<typeof oip.ModelInferRequestSchema>>[1];
const message = (init: Init) =>
  toBinary(oip.ModelInferRequestSchema, create(oip.ModelInferRequestSchema, { modelName: 'm', id: 'one', ...init }));
const input = { name: 'x', datatype: 'FP32', shape: [1n] };
const many = <T>(count: number, of: T) => Array.from({ length: count }, () => of);
const parameters = Object.fromEntries(many(257, 0).map((_, at) => [`p${at}`, {}]));

describe('a message', () => {
  it.each<[string, Init, string, RegExp]>([
    ['inputs', { inputs: many(257, input) }, 'E_BAD_REQUEST', /257 inputs and 0 outputs; at most 256/],
    ['outputs', { outputs: many(257, { name: 'y' }) }, 'E_BAD_REQUEST', /0 inputs and 257 outputs/],
    ['dimensions', { inputs: [{ ...input, shape: many(17, 1n) }] }, 'E_SHAPE', /"x" has 17 dimensions; at most 16/],
    ['parameters', { parameters }, 'E_BAD_REQUEST', /257 parameters at one place; at most 256/],
    ['parameters of an input', { inputs: [{ ...input, parameters }] }, 'E_BAD_REQUEST', /257 parameters/],
  ])('with too many %s is refused', (_, init, code, detail) => {
    expect(() => readMessage({ message: message(init) })).toThrow(
      expect.objectContaining({ code, detail: expect.stringMatching(detail) }),
    );
  });

  it('with as many as there may be is read', () => {
    const raw = many(256, new Uint8Array(4));
    const read = readMessage({ message: message({ inputs: many(256, input), rawInputContents: raw }) });
    expect(read).toMatchObject({ modelName: 'm', id: 'one', outputs: undefined });
    expect(read.tensors).toHaveLength(256);
  });

  it('that is none is refused', () => {
    for (const bytes of [Buffer.from('ffffffffffff', 'hex'), Buffer.from([0x0a, 0x7f, 1])]) {
      expect(() => readMessage({ message: bytes })).toThrow(/E_BAD_REQUEST: no message of the protocol/);
    }
  });
});

describe('a look along the fields', () => {
  it('finds the id, and counts numbers but not raw bytes', () => {
    const raw = message({ inputs: [input], rawInputContents: [new Uint8Array(1_000_000)] });
    expect(scanRequest(raw, 32_768)).toEqual({ id: 'one', bytes: expect.toSatisfy((bytes: number) => bytes < 200) });
    const said = message({ inputs: [{ ...input, contents: { fp32Contents: many(10_000, 1) } }] });
    expect(scanRequest(said, 32_768)).toEqual({
      id: 'one',
      bytes: expect.toSatisfy((bytes: number) => bytes > 40_000),
    });
  });

  it('ends, whatever the bytes are', () => {
    let state = 1;
    for (let round = 0; round < 2000; round++) {
      const bytes = Uint8Array.from({ length: round % 60 }, () => {
        state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
        return state >>> 16;
      });
      expect(scanRequest(bytes, 32_768).bytes).toBeGreaterThanOrEqual(0);
    }
    // Small fields in masses count, each of them.
    expect(scanRequest(new Uint8Array(1_000_000).fill(0x3a), 32_768).bytes).toBeGreaterThan(32_768);
    expect(scanRequest(Buffer.alloc(1_000_000, Buffer.from([0x3a, 0])), 32_768).bytes).toBeGreaterThan(32_768);
  });
});
