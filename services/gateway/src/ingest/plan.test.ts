import { ConfigurationSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { matchesGlob, planOf } from './plan.ts';

describe('a glob over device names', () => {
  it('takes * for any characters and ? for one', () => {
    const cases: [string, string, boolean][] = [
      ['*', 'cam-1', true],
      ['cam-*', 'cam-1', true],
      ['cam-*', 'cam-', true],
      ['cam-*', 'xcam-1', false],
      ['cam-?', 'cam-1', true],
      ['cam-?', 'cam-12', false],
      ['*-left-*', 'cam-7-left-door', true],
      ['*-left', 'cam-left-right', false],
      ['a*b*c', 'aXbXbc', true],
      ['cam-1', 'cam-1', true],
      ['cam-1', 'cam-10', false],
      ['', 'a', false],
    ];
    for (const [glob, name, match] of cases) expect(matchesGlob(glob, name), `${glob} ~ ${name}`).toBe(match);
  });

  it('is quick where a regular expression would not be', () => {
    const start = performance.now();
    expect(matchesGlob(`${'*a'.repeat(30)}b`, 'a'.repeat(64))).toBe(false);
    expect(performance.now() - start).toBeLessThan(100);
  });
});

describe('a plan', () => {
  const planned = (streams: object) =>
    planOf({ revision: '0123456789ab', configuration: ConfigurationSchema.parse({ version: 1, streams }) });

  it('holds what the gateway needs of a stream', () => {
    const plan = planned({ front: { format: 'image', pipelines: { pets: { model: 'cats', every_ms: 500 } } } });
    expect(plan.streams.get('front')).toMatchObject({
      format: 'image',
      frameBytesMax: 1024 * 1024,
      frameAgeMsMax: 2000,
      pipelines: [{ name: 'pets', model: 'cats', priority: 5, everyMs: 500, deadlineMs: undefined }],
    });
  });

  it('is refused as a whole, with every reason', () => {
    const stream = { format: 'image', pipelines: { pets: { model: 'cats' } } };
    expect(() => planned({ a: stream, b: stream, c: stream })).toThrow(
      /E_CONFIG.*streams\.b\.pipelines\.pets is in streams\.a too.*streams\.c\.pipelines\.pets/s,
    );
  });
});
