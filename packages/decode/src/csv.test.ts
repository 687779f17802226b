import type { BrinkError } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { readSignal } from './signal.ts';

const read = (text: string | Buffer, channels: string[]) =>
  readSignal(Buffer.from(text as string))
    .samplesOf(channels)
    .map((samples) => [...samples]);

const refusal = (text: string | Buffer, channels: string[]) => {
  try {
    read(text, channels);
  } catch (reason) {
    return (reason as BrinkError).message;
  }
  return 'decoded';
};

describe('CSV', () => {
  const expected = [
    [1, 2.5],
    [-3, 400],
  ];

  it.each([
    ['names', 'ax,ay\n1,-3\n2.5,4e2\n'],
    ['names in another order, and more of them', 't,"ay", ax\nnow,-3,1\nlater, +400. ,2.5'],
    ['no names', '1,-3\n2.5,4E+2'],
    ['semicolons and Windows lines', 'ax;ay\r\n1;-3\r\n2.5;400\r\n\r\n'],
    ['tabs', 'ax\tay\n1\t-3\n2.5\t400'],
  ])('with %s', (_, text) => {
    expect(read(text, ['ax', 'ay'])).toEqual(expected);
  });

  it('of one column needs no separator', () => {
    expect(read('1\n-.5\n3e-1\n', ['ecg'])).toEqual([[1, -0.5, Math.fround(0.3)]]);
    expect(read('ecg\n7\n', ['ecg'])).toEqual([[7]]);
  });

  it.each([
    ['a text', 'ax\n1\nx', ['ax'], 'E_DECODE: CSV of a signal: "x" in line 3, column 1; expected a finite float32'],
    ['an empty cell', '1,2\n3,', ['a', 'b'], /"" in line 2, column 2/],
    ['hexadecimal', 'ax\n0x10', ['ax'], /"0x10" in line 2/],
    ['NaN', 'ax\nNaN', ['ax'], /"NaN" in line 2/],
    ['beyond a float32', 'ax\n1e39', ['ax'], /"1e39" in line 2/],
    ['a short line', 'ax,ay\n1', ['ax'], 'E_SHAPE: line 2 has 1 columns; expected 2'],
    ['an empty line', '1\n\n2', ['ax'], /^E_DECODE.*"" in line 2/],
    ['a missing channel', 'ax,az\n1,2', ['ay'], 'E_SHAPE: no single column "ay"; found "ax", "az"'],
    ['the channel twice', 'ax,ax\n1,2', ['ax'], /no single column "ax"/],
    ['columns without names', '1,2,3', ['ax'], /^E_SHAPE: 3 columns without names; expected 1, or a line of names/],
    ['too many columns', `${'1,'.repeat(2000)}1`, ['ax'], /^E_SHAPE: 2001 columns; expected at most 1024/],
    ['not UTF-8', Buffer.concat([Buffer.from('1\n'.repeat(300)), Buffer.from([0xff])]), ['ax'], /^E_DECODE.*not UTF-8/],
  ])('is refused with %s', (_, text, channels, said) => {
    if (typeof said === 'string') expect(refusal(text, channels)).toBe(said);
    else expect(refusal(text, channels)).toMatch(said);
  });
});

describe('raw samples', () => {
  const bytesOf = (values: Float32Array | Int16Array) => new Uint8Array(values.buffer);
  const raw = (bytes: Uint8Array, encoding: 'f32le' | 's16le', channels: string[]) =>
    readSignal(bytes, encoding)
      .samplesOf(channels)
      .map((samples) => [...samples]);

  it('are numbers, channel after channel of each moment', () => {
    const expected = [
      [1, -2],
      [300, 0],
    ];
    expect(raw(bytesOf(Float32Array.of(1, 300, -2, 0)), 'f32le', ['a', 'b'])).toEqual(expected);
    expect(raw(bytesOf(Int16Array.of(1, 300, -2, 0)), 's16le', ['a', 'b'])).toEqual(expected);
  });

  it('are never guessed', () => {
    expect(() => readSignal(bytesOf(Float32Array.of(1, 2)))).toThrow(/E_TYPE/);
  });

  it('are refused where they are not whole, or not finite', () => {
    expect(() => raw(new Uint8Array(10), 'f32le', ['a', 'b'])).toThrow(/E_SHAPE: 10 bytes; expected a multiple of 8/);
    expect(() => raw(bytesOf(Float32Array.of(0, Number.NaN)), 'f32le', ['a'])).toThrow(/E_NUMBER.*NaN at byte 4/);
  });
});
