import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { systemClock } from '@brink/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { takePlace } from './place.ts';
import { checkPorts } from './ports.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'brink-place-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('one data folder, one brink up; released, it can be taken again', async () => {
  const place = await takePlace(join(folder, 'data'));
  await expect(takePlace(join(folder, 'data'))).rejects.toMatchObject({
    code: 'E_LOCKED',
    detail: expect.stringMatching(/is in use by another process \(pid \d+\); .* choose another folder with --data$/),
  });
  await place.release();
  await (await takePlace(join(folder, 'data'))).release();
});

test('credentials are new for each run, readable by the owner alone, and the users file has only hashes', async () => {
  const place = await takePlace(folder);
  const password = await readFile(place.passwordFile('gateway'), 'utf8');
  const users = await readFile(place.usersFile, 'utf8');
  expect((await stat(place.passwordFile('gateway'))).mode & 0o777).toBe(0o600);
  expect((await stat(place.usersFile)).mode & 0o777).toBe(0o600);
  expect(users).not.toContain(password);
  expect(JSON.parse(users).users.map((user: { role: string }) => user.role)).toEqual([
    'gateway',
    'inference',
    'control',
  ]);
  await place.release();
  const again = await takePlace(folder);
  expect(await readFile(again.passwordFile('gateway'), 'utf8')).not.toBe(password);
  await again.release();
});

test('a path too long for a unix socket falls back to a short folder, which goes with the run', async () => {
  const place = await takePlace(join(folder, 'x'.repeat(60), 'y'.repeat(60)));
  expect(Buffer.byteLength(place.sockets.inference)).toBeLessThan(108);
  const short = join(place.sockets.inference, '..');
  await place.release();
  await expect(readdir(short)).rejects.toThrow(/ENOENT/);
});

test('a taken port is named, with its use and the option that chooses another', async () => {
  await using server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port } = server.address() as { port: number };
  const check = checkPorts(
    [{ host: '127.0.0.1', port, use: 'HTTP', option: '--port' }],
    systemClock,
    AbortSignal.timeout(10_000),
  );
  const error = await check.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(BrinkError);
  expect((error as BrinkError).code).toBe('E_PORT');
  expect((error as BrinkError).detail).toMatch(
    new RegExp(`^port ${port} \\(HTTP\\) is already in use.* choose another with --port$`),
  );
});
