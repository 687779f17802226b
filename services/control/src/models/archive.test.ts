import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { type Header, pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { unpackModel } from './archive.ts';

let top: string;
let folder: string;
beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'brink-archive-'));
  folder = join(top, 'in');
  await mkdir(folder);
});
afterEach(() => rm(top, { recursive: true, force: true }));

type Entry = readonly [Partial<Header> & { name: string }, string?];

async function tarOf(...entries: Entry[]): Promise<Buffer> {
  const tar = pack();
  for (const [header, content = ''] of entries) tar.entry(header, content);
  tar.finalize();
  const parts: Buffer[] = [];
  for await (const part of tar) parts.push(Buffer.from(part as Uint8Array));
  return Buffer.concat(parts);
}

async function* inPieces(bytes: Uint8Array, size = 700): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const unpack = (bytes: Uint8Array, max = 1 << 20) => unpackModel(inPieces(bytes), folder, max);
const file = (name: string, content = 'x'): Entry => [{ name }, content];
/** Everything below the folder that the test owns: what left its own place would be seen. */
const all = async () =>
  (await readdir(top, { recursive: true, withFileTypes: true }))
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(top, join(entry.parentPath, entry.name)))
    .sort();

describe('an archive of a model', () => {
  test('is unpacked; folders around it and what macOS adds do not matter', async () => {
    const at = await unpack(
      await tarOf(
        [{ name: 'cats/', type: 'directory' }],
        file('cats/2/model.json', '{}'),
        file('cats/2/golden/a.jpg', 'picture'),
        file('cats/2/._model.json'),
        file('./cats/2/labels.txt', 'a\nb\n'),
      ),
    );
    expect(relative(folder, at)).toBe('cats/2');
    expect(await all()).toEqual(['in/cats/2/golden/a.jpg', 'in/cats/2/labels.txt', 'in/cats/2/model.json']);
    expect(await readFile(join(at, 'golden/a.jpg'), 'utf8')).toBe('picture');
  });

  test('may hold long names, large files in pieces, or an .onnx file alone', async () => {
    const long = `golden/${'n'.repeat(95)}/${'m'.repeat(80)}.jpg`;
    const at = await unpack(await tarOf(file('yolo.onnx', 'o'.repeat(300_000)), file(long)));
    expect(relative(folder, at)).toBe('yolo.onnx');
    expect((await readFile(at)).length).toBe(300_000);
    expect(await all()).toEqual([`in/${long}`, 'in/yolo.onnx']);
  });
});

const MODEL = file('model.json', '{}');

describe('a hostile archive', () => {
  test.each<[string, Entry[], RegExp]>([
    ['a path that leads out', [file('../evil')], /"\.\.\/evil": found a path that leads out/],
    ['one hidden in the middle', [file('a/../../evil')], /leads out/],
    ['an absolute path', [file('/tmp/evil')], /an absolute path/],
    ['a backslash', [file('..\\evil')], /characters that no file should have/],
    ['a control character', [file('model\u001b[2J.json')], /characters/],
    ['a symbolic link', [[{ name: 'golden', type: 'symlink', linkname: '/etc' }], file('golden/passwd')], /a symlink/],
    ['a hard link', [[{ name: 'model.onnx', type: 'link', linkname: '/etc/passwd' }]], /a link/],
    ['a device', [[{ name: 'zero', type: 'character-device', devmajor: 1, devminor: 5 }]], /a character-device/],
    ['a pipe', [[{ name: 'model.onnx', type: 'fifo' }]], /a fifo/],
    ['a file twice', [file('model.json'), file('model.json')], /twice/],
    ['a file twice but for its case', [file('model.json'), file('MODEL.json')], /twice/],
    ['a file where a folder has to be', [file('golden'), file('golden/a.jpg')], /E_ARCHIVE/],
    ['a hidden file', [file('.bashrc')], /hidden/],
    ['a path that is too long', [file(`${'a/'.repeat(120)}b`)], /path of 241 characters/],
    ['folders without end', [file(`${'a/'.repeat(20)}b`)], /21 folders/],
    ['more entries than a model has', Array.from({ length: 501 }, (_, i) => file(`f${i}`)), /more than 500/],
    ['folders only', [[{ name: 'a/', type: 'directory' }]], /no file/],
    ['no model', [file('README.md')], /neither model\.json nor model\.onnx/],
    ['two models', [file('1/model.json'), file('2/model.json')], /2 folders with a model/],
  ])('with %s is refused, and nothing is outside its folder', async (_, entries, message) => {
    const unpacked = unpack(await tarOf(...entries));
    await expect(unpacked).rejects.toMatchObject({ code: 'E_ARCHIVE', message: expect.stringMatching(message) });
    expect((await all()).filter((path) => !path.startsWith('in/'))).toEqual([]);
  });

  test('that is cut off, damaged, or none', async () => {
    const bytes = await tarOf(MODEL, file('labels.txt', 'l'.repeat(5000)));
    await expect(unpack(bytes.subarray(0, 2000))).rejects.toMatchObject({ code: 'E_ARCHIVE' });
    const damaged = Buffer.from(bytes);
    damaged[148] = 0x39;
    await expect(unpack(damaged)).rejects.toMatchObject({ code: 'E_ARCHIVE' });
    await expect(unpack(Buffer.from('hello, this is no tar at all'.repeat(50)))).rejects.toMatchObject({
      code: 'E_ARCHIVE',
    });
    await expect(unpack(gzipSync(bytes))).rejects.toMatchObject({ code: 'E_ENCODING' });
    await expect(unpack(Buffer.from('PK\u0003\u0004'.repeat(200)))).rejects.toMatchObject({ code: 'E_ENCODING' });
    await expect(unpack(Buffer.alloc(0))).rejects.toMatchObject({ code: 'E_EMPTY' });
  });

  test('that says a size it does not have, or is larger than may be', async () => {
    const bytes = await tarOf(file('model.json', 'x'.repeat(600)));
    // Size in octal at 124, checksum at 148: https://www.gnu.org/software/tar/manual/html_node/Standard.html
    const lying = Buffer.from(bytes);
    lying.write('77777777777', 124);
    lying.fill(' ', 148, 156);
    const sum = lying.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    lying.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    await expect(unpack(lying)).rejects.toMatchObject({ code: 'E_ARCHIVE' });
    await expect(unpack(await tarOf(file('model.onnx', 'x'.repeat(5000))), 4000)).rejects.toMatchObject({
      code: 'E_TOO_LARGE',
    });
  });

  test('of random damage is either refused or what it was', async () => {
    const bytes = await tarOf(MODEL, file('labels.txt', 'a\nb\n'), file('golden/a.jpg', 'p'.repeat(1500)));
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed % below;
    };
    for (let round = 0; round < 60; round++) {
      const damaged = Buffer.from(bytes);
      for (let flips = 0; flips < 4; flips++) damaged[random(bytes.length)] = random(256);
      await rm(folder, { recursive: true });
      await mkdir(folder);
      const end = await unpack(damaged).then(
        () => 'ok',
        (error: { code: string }) => error.code,
      );
      expect(['ok', 'E_ARCHIVE', 'E_ENCODING']).toContain(end);
      expect((await all()).filter((path) => !path.startsWith('in/'))).toEqual([]);
    }
  });
});
