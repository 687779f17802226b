import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Fleet, repository, startFleet } from '../harness/fleet.ts';

// A model that comes over HTTP, to the end: what inference says of its golden test decides whether it is kept.

const SITE = `version: 1
streams:
  front: { format: image, pipelines: { pets: { model: cifar-net } } }
`;
const original = join(repository, 'models/cifar-net/1');
let models: string;
let fleet: Fleet;

beforeAll(async () => {
  models = mkdtempSync(join(tmpdir(), 'brink-models-'));
  mkdirSync(join(models, 'cifar-net'));
  cpSync(original, join(models, 'cifar-net/1'), { recursive: true });
  fleet = await startFleet({ configuration: SITE, models });
});
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]();
  rmSync(models, { recursive: true, force: true });
});

/** As `tar` writes it: a header of 512 bytes, the content, filled up. https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html */
function tarOf(files: Record<string, Buffer>): Buffer {
  const parts = Object.entries(files).flatMap(([name, content]) => {
    const header = Buffer.alloc(512);
    header.write(name);
    header.write('0000644\0', 100);
    header.write(content.length.toString(8).padStart(11, '0'), 124);
    header.write('00000000000', 136);
    header.write('        0', 148);
    header.write('ustar\x0000', 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return [header, content, Buffer.alloc((512 - (content.length % 512)) % 512)];
  });
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

function modelFiles(changed: Record<string, Buffer> = {}): Record<string, Buffer> {
  const names = readdirSync(original, { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return {
    ...Object.fromEntries(files.map((path) => [path.slice(original.length + 1), readFileSync(path)])),
    ...changed,
  };
}

const passport = JSON.parse(readFileSync(join(original, 'model.json'), 'utf8'));
const upload = (bytes: Uint8Array, query = '') =>
  fleet.api.request(`/v1/models/cifar-net/versions${query}`, {
    method: 'POST',
    body: bytes,
    headers: { 'content-type': 'application/x-tar' },
  });
const versions = async () =>
  (await fleet.api.get<{ items: { version: number; running: { state: string }[] }[] }>('/v1/models/cifar-net/versions'))
    .items;

describe('a model that is uploaded', () => {
  it('and whose golden test fails is not kept: the answer says why, and what served goes on', async () => {
    const wrong = structuredClone(passport);
    wrong.golden[0].expect.label = 'ship';
    const answer = await upload(tarOf(modelFiles({ 'model.json': Buffer.from(JSON.stringify(wrong)) })));
    expect(answer.status, answer.text).toBe(422);
    expect(answer.json).toMatchObject({ code: 'E_MODEL_GOLDEN', detail: expect.stringContaining('ship') });
    expect(readdirSync(join(models, 'cifar-net'))).toEqual(['1']);
    expect(await versions()).toMatchObject([{ version: 1, running: [{ state: 'ready', serving: true }] }]);
  });

  it('and is right is loaded, tested, listed and serves', async () => {
    const answer = await upload(tarOf(modelFiles()));
    expect(answer.status, answer.text).toBe(201);
    expect(answer.json).toMatchObject({ name: 'cifar-net', version: 2, passport: true, state: 'ready' });
    expect(JSON.parse(readFileSync(join(models, 'cifar-net/2/model.json'), 'utf8'))).toMatchObject({ version: 2 });
    expect(await versions()).toMatchObject([
      { version: 1, running: [{ state: 'ready', serving: false }] },
      { version: 2, running: [{ state: 'ready', serving: true }] },
    ]);
    const { host, port } = fleet.control.addresses.ops;
    const metrics = await (await fetch(`http://${host}:${port}/metrics`)).text();
    expect(metrics).toMatch(/^brink_control_model_not_served\{[^}]*model="cifar-net"[^}]*\} 0$/m);
    const taken = await upload(tarOf(modelFiles()), '?version=2');
    expect([taken.status, taken.json]).toMatchObject([409, { code: 'E_CONFLICT' }]);
  });

  it('and does not hold together is refused before it comes near the folder', async () => {
    const weights = readFileSync(join(original, 'model.onnx'));
    const cases: [Record<string, Buffer>, string][] = [
      [modelFiles({ 'labels.txt': Buffer.from('a\nb\n') }), 'E_MODEL_HASH'],
      [{ 'model.onnx': weights.subarray(0, 100_000) }, 'E_MODEL_PARSE'],
      [modelFiles({ '../../evil': Buffer.from('x') }), 'E_ARCHIVE'],
    ];
    for (const [files, code] of cases) {
      const answer = await upload(tarOf(files), '?version=9');
      expect([answer.status, answer.json]).toMatchObject([422, { code }]);
    }
    expect(existsSync(join(models, 'cifar-net/9'))).toBe(false);
    expect(readdirSync(join(fleet.folder, 'control/uploads'))).toEqual([]);
    expect(existsSync(join(fleet.folder, 'control/evil'))).toBe(false);
  });
});
