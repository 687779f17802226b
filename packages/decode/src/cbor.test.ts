import { BrinkError } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import signals from '../fixtures/signals.json' with { type: 'json' };
import { readCbor } from './cbor.ts';
import { seeded } from './pictures.testing.ts';
import { readSignal } from './signal.ts';

const hex = (text: string) => Buffer.from(text, 'hex');
const { ax, ay, ...written } = signals;
const CHANNELS = ['ax', 'ay'];
const EXPECTED = [Float32Array.from(ax), Float32Array.from(ay)];

const refusal = (bytes: Uint8Array) => {
  try {
    readSignal(bytes).samplesOf(['ax']);
  } catch (reason) {
    return (reason as BrinkError).message;
  }
  return 'decoded';
};

describe('CBOR', () => {
  // RFC 8949, appendix A.
  it.each([
    ['00', 0],
    ['17', 23],
    ['1818', 24],
    ['1903e8', 1000],
    ['1a000f4240', 1_000_000],
    ['1b000000e8d4a51000', 1_000_000_000_000],
    ['20', -1],
    ['3863', -100],
    ['3903e7', -1000],
    ['f90000', 0],
    ['f93c00', 1],
    ['f93e00', 1.5],
    ['f97bff', 65_504],
    ['f90001', 2 ** -24],
    ['f90400', 0.00006103515625],
    ['f9c400', -4],
    ['f97c00', Number.POSITIVE_INFINITY],
    ['f97e00', Number.NaN],
    ['fa47c35000', 100_000],
    ['fb3ff199999999999a', 1.1],
    ['fbc010666666666666', -4.1],
    ['f4', false],
    ['f5', true],
    ['f6', null],
    ['c11a514b67b0', 1_363_896_240],
    ['62c3bc', 'ü'],
    ['8301820203820405', [1, [2, 3], [4, 5]]],
    ['9f018202039f0405ffff', [1, [2, 3], [4, 5]]],
    ['a26161016162820203', { a: 1, b: [2, 3] }],
    ['bf61610161629f0203ffff', { a: 1, b: [2, 3] }],
  ])('%s is %j', (bytes, value) => {
    const found = readCbor(hex(bytes));
    const isMap = typeof found === 'object' && found !== null && !Array.isArray(found);
    expect(isMap ? { ...found } : found).toEqual(value);
  });

  it.each(Object.entries(written))('of a signal is what cbor2 wrote: %s', (_, bytes) => {
    const { rateHz, samplesOf } = readSignal(hex(bytes));
    expect(samplesOf(CHANNELS)).toEqual(EXPECTED);
    expect(rateHz).toBe(bytes === written['self-described'] ? 250 : undefined);
  });

  it.each([
    ['cut off', 'a1626178830102', /^E_DECODE: CBOR of a signal at byte 5: 3 elements are said to follow, 2 bytes do/],
    ['a number cut off', '81fb3ff1', /byte 2: 8 bytes expected, 2 follow/],
    ['something behind', '810100', /byte 2: 1 bytes behind the value/],
    ['a billion elements', '9a3fffffff', /1073741823 elements are said to follow, 0 bytes do/],
    ['2^64 elements', '9bffffffffffffffff', /elements are said to follow/],
    ['9 levels', '81'.repeat(9), /byte 8: more than 8 levels deep/],
    ['a thousand tags', 'd81f'.repeat(1000), /more than 8 levels deep/],
    ['a key twice', 'a261610161610a', /byte 4: the key "a" is there twice/],
    ['a number for a key', 'a10102', /a key is no text/],
    ['a break alone', '81ff', /byte 1: a break; expected a value/],
    ['half a pair', 'bf6161ff', /a key without a value/],
    ['a text in pieces', '817f6161ff', /a string in pieces/],
    ['no UTF-8', '8161ff', /a text is not UTF-8/],
    ['a reserved length', '811c', /length 28 is reserved/],
    ['half floats, packed', '81d85442003c', /packed numbers of tag 84/],
    ['a packed float too short', '81d85543000000', /tag 85 needs a byte string of a multiple of 4/],
    ['not finite', '81f97e00', /^E_NUMBER: a signal: "ax"\[0\] is NaN/],
    ['a text for a number', '816161', /"ax"\[0\] is a string/],
    ['__proto__', 'a2626178810169 5f5f70726f746f5f5fa0'.replace(' ', ''), /"__proto__" is not allowed/],
    ['a JPEG', 'ffd8ff00', /^E_TYPE: the bytes look like image\/jpeg; expected a signal/],
    ['anything', '0102030405', /^E_TYPE: the bytes look like application\/octet-stream/],
  ])('is refused as %s', (_, bytes, said) => {
    expect(refusal(hex(bytes))).toMatch(said);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('is refused where a small file would fill the memory', () => {
    const empty = Buffer.alloc(5 + 2 ** 20, 0x80);
    empty.writeUInt8(0x9a);
    empty.writeUInt32BE(2 ** 20, 1);
    expect(refusal(empty)).toMatch(/^E_TOO_LARGE: CBOR of more than 262144/);
  });

  it('whatever the bytes: 2,000 damaged ones are read or refused by name', () => {
    const random = seeded(46);
    let refused = 0;
    for (let round = 0; round < 2000; round++) {
      const all = Object.values(written);
      const bytes = hex(all[round % all.length] as string);
      for (let i = Math.floor(random() * 3); i >= 0; i--) {
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      }
      try {
        expect(readSignal(bytes).samplesOf(CHANNELS).length).toBe(2);
      } catch (reason) {
        if (!(reason instanceof BrinkError)) throw reason;
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(500);
    expect(refused).toBeLessThan(1900);
  });
});
