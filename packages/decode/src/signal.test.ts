import { BrinkError } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { seeded } from './pictures.testing.ts';
import { readSignal } from './signal.ts';

const bytesOf = (value: unknown) => {
  if (value instanceof Buffer) return value;
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
};

const read = (value: unknown, channels: string[]) =>
  readSignal(bytesOf(value))
    .samplesOf(channels)
    .map((samples) => [...samples]);

const refusal = (value: unknown, channels = ['ax']) => {
  try {
    read(value, channels);
  } catch (reason) {
    return (reason as BrinkError).message;
  }
  return 'decoded';
};

describe('a signal in JSON', () => {
  it('is channels, points, or numbers where there is one channel', () => {
    const expected = [
      [1, 2.5],
      [-3, 4],
    ];
    expect(read({ ay: [-3, 4], t: [0, 1], ax: [1, 2.5] }, ['ax', 'ay'])).toEqual(expected);
    expect(
      read(
        [
          { ax: 1, ay: -3, t: 'now' },
          { ay: 4, ax: 2.5 },
        ],
        ['ax', 'ay'],
      ),
    ).toEqual(expected);
    expect(read([1, 2.5], ['ax'])).toEqual([[1, 2.5]]);
    expect(read(' \n[]', ['ax'])).toEqual([[]]);
  });

  it('takes single values as one sample each, and the names of inner values as paths', () => {
    expect(read({ temperature: 21.5, humidity: 40, battery: null }, ['temperature', 'humidity'])).toEqual([
      [21.5],
      [40],
    ]);
    const tasmota = {
      Time: '2026-11-23T01:00:00',
      ENERGY: { Power: 3, Factor: 0.5 },
      'SI7021-14': { Temperature: 20 },
    };
    expect(read(tasmota, ['ENERGY.Power', 'SI7021-14.Temperature'])).toEqual([[3], [20]]);
    expect(read({ 'a.b': [1], a: { b: [2] } }, ['a.b'])).toEqual([[1]]);
    expect(read([{ a: { b: 1 } }, { a: { b: 2 } }], ['a.b'])).toEqual([[1, 2]]);
    expect(refusal({ ax: 1, ay: [2] }, ['ax', 'ay'])).toMatch(/"ax" is a number; expected an array of numbers, as/);
  });

  it('takes any name for a channel that JSON can say', () => {
    expect(read({ 'a "b\\ ]': [1] }, ['a "b\\ ]'])).toEqual([[1]]);
  });

  it.each([
    ['text', '{hello', /^E_DECODE: JSON of a signal:/],
    ['cut off', '{"ax": [1, 2', /^E_DECODE/],
    ['not UTF-8', Buffer.concat([Buffer.from(`[${' '.repeat(600)}`), Buffer.from([0xff, 0x5d])]), /^E_DECODE.*utf-8/],
    ['NaN', '[NaN]', /^E_DECODE/],
    ['beyond a double', '[1, 1e400]', /E_NUMBER.*"ax"\[1\] is Infinity; expected a finite float32/],
    ['beyond a float32', '{"ax": [1e39]}', /"ax"\[0\] is 1e\+39/],
    ['a text for a number', '["1"]', /"ax"\[0\] is a string; expected a number/],
    ['null for a number', '[{"ax": 1}, {"ax": null}]', /"ax"\[1\] is null/],
    ['an object for a channel', '{"ax": {}}', /"ax" is an object; expected a number or an array of numbers/],
    ['nothing for a channel', '{"ax": null}', /"ax" is null; expected a number or an array/],
    ['true for a channel', '{"ax": true}', /"ax" is a boolean; expected a number/],
    ['a point that is none', '[{"ax": 1}, 2]', /a number at \[1\]; expected an object with the channel "ax"/],
    ['__proto__', '{"ax": [1], "__proto__": {"polluted": 1}}', /E_FORBIDDEN_KEY.*"__proto__" is not allowed/],
    ['constructor', '[{"ax": 1, "x": {"constructor": {}}}]', /"constructor" is not allowed/],
    ['9 levels', `${'['.repeat(9)}${']'.repeat(9)}`, /E_DEPTH.*more than 8 levels deep at byte 8/],
    ['a megabyte of brackets', '['.repeat(1e6), /E_DEPTH.*more than 8 levels deep at byte 8/],
  ])('is refused as %s', (_, text, said) => {
    expect(refusal(text)).toMatch(said);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it.each([
    ['a missing channel', { ax: [1], az: [2] }, ['ax', 'ay'], /E_SHAPE: no "ay"; found "ax", "az"/],
    [
      'a path that ends early',
      { ENERGY: { Power: 3 } },
      ['ENERGY.Power.Now'],
      /no "Power.Now"; found "Power"|no "Now"/,
    ],
    ['a path into a list', { a: [1, 2] }, ['a.0'], /no "a.0"; found "a"/],
    ['a missing value', [{ ax: 1 }, { ay: 1 }], ['ax'], /no "ax" at \[1\]; found "ay"/],
    ['unequal channels', { ax: [1, 2], ay: [3] }, ['ax', 'ay'], /"ay" has 1 samples; expected 2, as "ax"/],
    ['numbers without names', [1, 2], ['ax', 'ay'], /an array of numbers; expected the channels "ax", "ay" by name/],
    ['too many keys', Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`k${i}`, 1])), ['ax'], /2000 keys/],
    ['a long key', { ['k'.repeat(1000)]: 1 }, ['ax'], /a key of 1000 characters/],
    ['half a character', '{"\\ud800": 1, "ax": [1]}', ['ax'], /well-formed/],
  ])('has no shape with %s', (_, value, channels, said) => {
    expect(refusal(value, channels)).toMatch(/^E_SHAPE/);
    expect(refusal(value, channels)).toMatch(said);
  });

  it('brackets in names count for no depth', () => {
    expect(read(`{"${'['.repeat(50)}": 1, "\\"${'{'.repeat(50)}": 2, "ax": [1]}`, ['ax'])).toEqual([[1]]);
  });

  it('is refused where it is too large, before it is parsed', () => {
    expect(() => readSignal(Buffer.alloc(16 * 1024 * 1024 + 1, ' '))).toThrow(/E_TOO_LARGE/);
  });

  it('whatever the bytes: 2,000 damaged texts are read or refused by name', () => {
    const random = seeded(44);
    const text = JSON.stringify({ ax: [1, -2.5, 3e2], ay: [0, 1, 2], t: { a: ['x'] } });
    let refused = 0;
    for (let round = 0; round < 2000; round++) {
      const bytes = Buffer.from(text);
      for (let i = Math.floor(random() * 3); i >= 0; i--) {
        bytes[Math.floor(random() * bytes.length)] = Buffer.from('[]{}",:0e-\\\u0000\xff', 'latin1')[
          Math.floor(random() * 13)
        ] as number;
      }
      try {
        expect(readSignal(bytes).samplesOf(['ax', 'ay']).length).toBe(2);
      } catch (reason) {
        if (!(reason instanceof BrinkError)) throw reason;
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(500);
  });
});
