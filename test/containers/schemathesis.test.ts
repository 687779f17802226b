import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Fleet, repository, startFleet } from '../harness/fleet.ts';

// schemathesis reads the OpenAPI document and asks everything that it allows and much that it forbids: what comes back must be what
// the document says. https://schemathesis.readthedocs.io/

const run = promisify(execFile);
const VERSION = '4.32.5';
const CONFIG = join(import.meta.dirname, 'schemathesis.toml');
const long = process.env['BRINK_TEST_SIZE'] === 'long';
const LIMIT_MS = long ? 600_000 : 180_000;

/** A Python that has schemathesis: the one that is named, else the one on the PATH. */
async function findPython(): Promise<{ python: string | undefined; missing: string }> {
  const named = process.env['BRINK_TEST_PYTHON'];
  const python = named === undefined || named === '' ? 'python3' : named;
  try {
    const { stdout } = await run(python, ['-c', 'import importlib.metadata as m; print(m.version("schemathesis"))'], {
      timeout: 30_000,
    });
    if (stdout.trim() === VERSION) return { python, missing: '' };
  } catch {
    // Said below.
  }
  return {
    python: undefined,
    missing: `${python} has no schemathesis ${VERSION} (pip install schemathesis==${VERSION})`,
  };
}

const { python, missing } = await findPython();
const skipped = missing === '' ? '' : ` (skipped: ${missing})`;

describe.skipIf(python === undefined)(`the OpenAPI document${skipped}`, { timeout: LIMIT_MS }, () => {
  let folder: string;
  let fleet: Fleet;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'brink-schemathesis-'));
    // Copies: what is asked for here changes and deletes what it can.
    for (const model of ['cifar-net', 'simple-cnn'])
      cpSync(join(repository, 'models', model), join(folder, 'models', model), { recursive: true });
    const parts = ['site', 'streams', 'rules'].map((name) =>
      readFileSync(join(repository, 'config', `${name}.yaml`), 'utf8').replace(/^version: 1$/m, ''),
    );
    fleet = await startFleet({
      configuration: ['version: 1', ...parts].join('\n'),
      models: join(folder, 'models'),
      env: { BRINK_HTTP_RATE_MAX: '10000000' },
    });
    // So that there is a decision, an action and a dead letter to be read.
    for (const file of ['packages/device/pictures/chelsea.png', 'README.md'])
      await fleet.api.request('/v1/frames/cam-cat/front?wait_ms=10000', {
        method: 'POST',
        body: readFileSync(join(repository, file)),
        headers: { 'content-type': file.endsWith('.png') ? 'image/png' : 'image/jpeg' },
      });
  });
  afterAll(async () => {
    await fleet?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** @returns what it said; it exits with 1 where anything is not as the document says */
  async function schemathesis(document: string, more: readonly string[]): Promise<{ code: number; text: string }> {
    const options = ['--checks', 'all', '--seed', '1', '--continue-on-failure', '--request-timeout', '20'];
    // An answer to /v1/events does not end.
    const args = [...options, '--exclude-path', '/v1/events', '--warnings', 'off', '--url', fleet.api.base, ...more];
    const main = 'import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())';
    const all = ['-c', main, '--config-file', CONFIG, '--no-color', 'run', document, ...args];
    const done = await run(python as string, all, {
      cwd: folder,
      maxBuffer: 1 << 26,
      timeout: LIMIT_MS - 10_000,
    }).catch((reason: { code: number; stdout: string; stderr: string }) => reason);
    const code = 'code' in done ? done.code : 0;
    return { code, text: `${done.stdout}${done.stderr}` };
  }

  it('is true: no answer is other than it says, nothing that it forbids is taken', async () => {
    // What reads and what is sent without a body in the short size; whole configurations, broken in every way, in the long one.
    const short = ['--include-method', 'GET', '--include-path-regex', '/(retry|cancel|arm|commands|devices)$'];
    const size = long ? ['--max-examples', '20'] : ['--phases', 'examples,coverage', ...short];
    const { code, text } = await schemathesis(`${fleet.api.base}/docs/json`, size);
    expect(code, text.slice(-6000)).toBe(0);
    const [, tested = '0'] = /Tested: (\d+)/.exec(text) ?? [];
    expect(Number(tested)).toBeGreaterThan(30);
    expect((await fleet.api.request('/v1/status')).status).toBe(200);
  });

  it('negative control: one that says of one field what is not so is caught', async () => {
    const { json: document } = await fleet.api.request('/docs/json');
    const wrong = join(folder, 'wrong.json');
    document.components.schemas.Status.properties.ready = { type: 'string' };
    writeFileSync(wrong, JSON.stringify(document));
    const { code, text } = await schemathesis(wrong, ['--include-path', '/v1/status', '--phases', 'coverage']);
    expect([code, text]).toEqual([1, expect.stringContaining('Response violates schema')]);
  });
});
