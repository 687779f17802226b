import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { openDataFolder } from '@brink/runtime';
import { pack as createPack } from 'tar-stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openInProcess } from '../in-process.testing.ts';
import { writeBackup } from './pack.ts';
import type { Places } from './places.ts';
import { restoreBackup } from './restore.ts';

const NOW_MS = Date.parse('2026-11-22T18:00:00.000Z');
const CONFIG = `version: 1
site: { name: plant-7 }
streams:
  front: { format: image, pipelines: { pets: { model: cifar-net } } }
`;

let made: string;
let root: string;
let site: Places;
let file: string;

function placesIn(name: string): Places {
  const at = join(root, name);
  for (const folder of ['data', 'config', 'models']) mkdirSync(join(at, folder), { recursive: true });
  return {
    ...{ data: join(at, 'data'), config: join(at, 'config'), models: join(at, 'models') },
    devices: join(at, 'devices.json'),
  };
}

/** Made once; each test works on what is like it. */
beforeAll(async () => {
  made = root = mkdtempSync(join(tmpdir(), 'brink-backup-'));
  site = placesIn('site');
  writeFileSync(join(site.config, 'site.yaml'), CONFIG);
  writeFileSync(site.devices as string, '{"users":[]}');
  const version = join(site.models, 'cifar-net/3');
  mkdirSync(version, { recursive: true });
  writeFileSync(join(version, 'model.json'), '{}');
  using opened = await openInProcess(site.data);
  opened.commit(1, 2);
  // While it runs, as people do it.
  await writeBackup(join(made, 'backup.tar'), site, NOW_MS);
});
afterAll(() => rmSync(made, { recursive: true, force: true }));

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'brink-backup-'));
  cpSync(made, root, { recursive: true });
  file = join(root, 'backup.tar');
  site = placesIn('site');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const restore = (places: Places, from = file, force = false) =>
  restoreBackup(from, places, { nowMs: NOW_MS + 60_000, force });

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'no error',
    (reason: unknown) => BrinkError.from(reason).code,
  );
}

/** Everything that a refused restore must leave as it was. */
const contentOf = (places: Places) =>
  [places.data, places.config].flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => name !== 'lock.db')
      .map((name) => [name, existsSync(join(folder, name)) && !name.startsWith('damaged') ? name : '']),
  );

describe('a backup', () => {
  it('brings decisions, configuration and credentials to a new box, and numbers go on', async () => {
    const other = placesIn('other');
    cpSync(site.models, other.models, { recursive: true });
    const done = await restore(other);
    expect(done).toMatchObject({ models: [], manifest: { site: null, n: 2 } });
    expect(readFileSync(join(other.config, 'site.yaml'), 'utf8')).toBe(CONFIG);
    expect(readFileSync(other.devices as string, 'utf8')).toBe('{"users":[]}');
    using opened = await openInProcess(other.data);
    expect(opened.ns).toEqual([2, 1]);
    expect(opened.commit(3)).toEqual([3]);
    expect(opened.damage).toEqual([]);
  });

  it('put back over a newer ledger keeps what was there, is no damage, and gives no number twice', async () => {
    {
      using opened = await openInProcess(site.data);
      opened.commit(3, 4);
    }
    writeFileSync(join(site.config, 'more.yaml'), 'targets: {}\n');
    const { replaced } = await restore(site);
    expect(readdirSync(site.config)).toEqual(['site.yaml']);
    expect(readdirSync(join(replaced, 'config')).toSorted()).toEqual(['more.yaml', 'site.yaml']);
    expect(existsSync(join(replaced, 'ledger.db'))).toBe(true);
    using opened = await openInProcess(site.data);
    expect(opened.damage).toEqual([]);
    opened.commit(5);
    expect(opened.ns).toEqual([5, 2, 1]);
  });

  it('is refused while control runs', async () => {
    const control = await openDataFolder(site.data);
    expect(await codeOf(restore(site))).toBe('E_LOCKED');
    await control.release();
  });

  it('is refused where its models are not, unless somebody insists', async () => {
    const other = placesIn('other');
    expect(await codeOf(restore(other))).toBe('E_CONFIG');
    expect(contentOf(other)).toEqual([]);
    expect((await restore(other, file, true)).models).toEqual(['cifar-net@3 is not here']);
  });

  it('is not written over another file', async () => {
    expect(await codeOf(writeBackup(file, site, NOW_MS))).toBe('E_CONFLICT');
    expect(await codeOf(writeBackup(join(root, 'x.tar'), { ...site, data: root }, NOW_MS))).toBe('E_NOT_FOUND');
  });
});

describe('a file that is no backup, or no longer', () => {
  async function tarOf(...entries: [name: string, text: string, type?: 'file' | 'symlink'][]): Promise<string> {
    const tar = createPack();
    for (const [name, text, type = 'file'] of entries)
      tar.entry(
        { name, type, ...(type === 'symlink' ? { linkname: '/etc/passwd' } : {}) },
        type === 'file' ? text : '',
      );
    tar.finalize();
    const path = join(root, 'made.tar');
    const parts: Buffer[] = [];
    for await (const part of tar as AsyncIterable<Buffer>) parts.push(part);
    writeFileSync(path, Buffer.concat(parts));
    return path;
  }
  const manifest = (fields: object = {}) =>
    JSON.stringify({
      ...{ backup: 1, made_at: new Date(NOW_MS).toISOString(), brink: '0.1.0', schema: 1, site: null, n: 0 },
      ...{ files: [], models: [], ...fields },
    });
  const sha256 = 'a'.repeat(64);

  it('changes nothing: cut off, with a flipped bit, too new, somebody else’s, or with names that lead out', async () => {
    const whole = readFileSync(file);
    const before = contentOf(site);
    const cut = join(root, 'cut.tar');
    writeFileSync(cut, whole.subarray(0, Math.floor(whole.length / 2)));
    const flipped = join(root, 'flipped.tar');
    const bytes = Buffer.from(whole);
    const at = bytes.indexOf('cam-1.front.k3v9.2.0.pets');
    bytes[at] = (bytes[at] as number) ^ 1;
    writeFileSync(flipped, bytes);
    const noise = join(root, 'noise.tar');
    writeFileSync(noise, 'x'.repeat(5000));
    const listed = (name: string) => manifest({ files: [{ name, bytes: 1, sha256 }] });
    const codes: Record<string, string> = {
      cut: await codeOf(restore(site, cut)),
      flipped: await codeOf(restore(site, flipped)),
      noise: await codeOf(restore(site, noise)),
      absent: await codeOf(restore(site, join(root, 'absent.tar'))),
      outside: await codeOf(restore(site, await tarOf(['manifest.json', listed('../x')], ['../x', '1']))),
      unlisted: await codeOf(restore(site, await tarOf(['manifest.json', manifest()], ['ledger.db', '1']))),
      link: await codeOf(
        restore(site, await tarOf(['manifest.json', listed('ledger.db')], ['ledger.db', '', 'symlink'])),
      ),
      longer: await codeOf(restore(site, await tarOf(['manifest.json', listed('ledger.db')], ['ledger.db', '12']))),
      first: await codeOf(restore(site, await tarOf(['ledger.db', '1']))),
      newer: await codeOf(restore(site, await tarOf(['manifest.json', manifest({ schema: 999 })]))),
      empty: await codeOf(restore(site, await tarOf(['manifest.json', manifest()]))),
      form: await codeOf(restore(site, await tarOf(['manifest.json', manifest({ backup: 2 })]))),
    };
    expect(codes).toEqual({
      ...{ cut: 'E_STORAGE_CORRUPT', flipped: 'E_STORAGE_CORRUPT', noise: 'E_STORAGE_CORRUPT', absent: 'E_NOT_FOUND' },
      ...{ outside: 'E_BAD_REQUEST', unlisted: 'E_BAD_REQUEST', link: 'E_BAD_REQUEST', longer: 'E_STORAGE_CORRUPT' },
      ...{ first: 'E_BAD_REQUEST', newer: 'E_STORAGE_NEWER', empty: 'E_BAD_REQUEST', form: 'E_BAD_REQUEST' },
    });
    expect(contentOf(site)).toEqual(before);
  });
});
