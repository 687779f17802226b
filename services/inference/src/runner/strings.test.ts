import { describe, expect, it } from 'vitest';
import { bytesOfStrings, stringsOf } from './strings.ts';

describe('strings as bytes', () => {
  it.each([[[]], [['']], [['a', '', '日本', 'naïve']], [['x'.repeat(70_000)]]])(
    'come back as they were: %j',
    (strings) => {
      expect(stringsOf('x', strings.length, bytesOfStrings(strings))).toEqual(strings);
    },
  );

  it('are 4 bytes of length, little-endian, then UTF-8', () => {
    expect([...bytesOfStrings(['é'])]).toEqual([2, 0, 0, 0, 0xc3, 0xa9]);
  });

  it('keep what looks like a byte order mark', () => {
    expect(stringsOf('x', 1, bytesOfStrings(['\ufeffa']))).toEqual(['\ufeffa']);
  });

  it.each([
    ['fewer than the shape says', 2, [1, 0, 0, 0, 65]],
    ['a length beyond the end', 1, [9, 0, 0, 0, 65]],
    ['a length of 2^32 − 1', 1, [255, 255, 255, 255, 65]],
    ['bytes behind the last', 1, [1, 0, 0, 0, 65, 66]],
    ['no UTF-8', 1, [1, 0, 0, 0, 0xff]],
    ['half a length', 1, [1, 0]],
    ['more elements than memory could hold', 2 ** 50, [1, 0, 0, 0, 65]],
  ])('are refused with the name of the tensor: %s', (_, count, bytes) => {
    expect(() => stringsOf('text', count, Uint8Array.from(bytes))).toThrow(/^E_SHAPE: tensor "text"/);
  });
});
