import { expect, test } from 'vitest';
import { fateOf } from './fate.ts';

const frame = { device: 'cam-9', stream: 'backyard', boot: 'sabc', seq: 1 };
const error = { code: 'E_IMAGE_TYPE', detail: 'looks like text; expected JPEG, PNG or WebP' };

/** Control's entrance, as far as it is asked here. */
function entrance(dead: object[], discovered: object[]) {
  const asked: unknown[] = [];
  const get = async <T>(path: string, query?: object) => {
    asked.push([path, query]);
    return { items: path === '/v1/dead' ? dead : discovered } as T;
  };
  return { get, asked };
}

test('a frame that was refused is told by its code and reason, not by those of other frames', async () => {
  const others = [
    { ...frame, seq: 2, error },
    { ...frame, boot: 'sxyz', error },
  ];
  const api = entrance([...others, { ...frame, error }], []);
  expect(await fateOf(api, frame)).toBe('refused: E_IMAGE_TYPE: looks like text; expected JPEG, PNG or WebP');
  expect(api.asked).toEqual([['/v1/dead', { device: 'cam-9', stream: 'backyard', limit: 100 }]]);
  expect(await fateOf(entrance(others, []), frame)).toBeUndefined();
});

test('a frame of a stream that nobody configured is told with where to look', async () => {
  expect(await fateOf(entrance([], [{ device: 'cam-9', stream: 'backyard' }]), frame)).toBe(
    'no stream of the configuration takes cam-9/backyard; `brink discovered` shows what to paste',
  );
  expect(await fateOf(entrance([], [{ device: 'cam-8', stream: 'backyard' }]), frame)).toBeUndefined();
});
