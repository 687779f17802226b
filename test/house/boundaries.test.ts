import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

// The checks that hold the house upright are tried here on a small copy of it: a check that cannot go red is worth nothing.

const repository = join(import.meta.dirname, '../..');
let copy: string;

beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), 'brink-house-'));
  for (const file of ['package.json', 'package-lock.json', 'turbo.json', 'biome.jsonc', 'pure.grit']) {
    cpSync(join(repository, file), join(copy, file));
  }
  writeFileSync(join(copy, '.gitignore'), 'node_modules\n');
  for (const place of ['packages', 'services']) {
    for (const name of readdirSync(join(repository, place))) {
      const folder = join(copy, place, name);
      mkdirSync(join(folder, 'src'), { recursive: true });
      for (const file of ['package.json', 'turbo.json']) {
        cpSync(join(repository, place, name, file), join(folder, file));
      }
      const exported = place === 'services' ? 'service.ts' : 'index.ts';
      writeFileSync(join(folder, 'src', exported), 'export const here = 1;\n');
    }
  }
});

afterEach(() => rmSync(copy, { recursive: true, force: true }));

function run(tool: string, ...args: string[]) {
  const { status, stdout, stderr } = spawnSync(join(repository, 'node_modules/.bin', tool), args, {
    cwd: copy,
    encoding: 'utf8',
    env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1' },
  });
  return { status, output: stdout + stderr };
}

function place(file: string, text: string, dependency?: string): void {
  writeFileSync(join(copy, file), text);
  if (dependency === undefined) return;
  const manifest = join(copy, file.split('/').slice(0, 2).join('/'), 'package.json');
  const parsed = JSON.parse(readFileSync(manifest, 'utf8')) as { dependencies: Record<string, string> };
  parsed.dependencies[dependency] = '*';
  writeFileSync(manifest, JSON.stringify(parsed));
}

describe('import directions', () => {
  it('hold in the house as it stands', () => {
    expect(run('turbo', 'boundaries')).toMatchObject({ status: 0 });
  });

  it.each([
    ['a pure package imports the runtime', 'packages/rules/src/index.ts', '@brink/runtime'],
    ['the runtime imports a pure package', 'packages/runtime/src/index.ts', '@brink/rules'],
    ['a service imports another service', 'services/control/src/service.ts', '@brink/gateway'],
    ['the cli imports a service', 'packages/cli/src/index.ts', '@brink/control'],
    ['protocol imports anything of ours', 'packages/protocol/src/index.ts', '@brink/onnx'],
  ])('%s: refused', (_, file, dependency) => {
    place(file, `import { here } from '${dependency}';\nexport const there = here;\n`, dependency);
    expect(run('turbo', 'boundaries').status).not.toBe(0);
  });

  it('a dependency that is not declared: refused', () => {
    place('services/gateway/src/service.ts', "import { here } from '@brink/onnx';\nexport const there = here;\n");
    expect(run('turbo', 'boundaries').status).not.toBe(0);
  });

  it('a way round through relative paths: refused', () => {
    place(
      'services/control/src/service.ts',
      "import { here } from '../../gateway/src/service.ts';\nexport const there = here;\n",
    );
    expect(run('turbo', 'boundaries').status).not.toBe(0);
  });
});

describe('pure packages', () => {
  it.each([
    ['files', "import { readFileSync } from 'node:fs';\nexport const text = readFileSync('x', 'utf8');\n"],
    ['the clock', 'export const later = (fn: () => void) => setTimeout(fn, 1);\n'],
    ['the process', 'export const pid = process.pid;\n'],
    ['the broker', "import { connect } from 'mqtt';\nexport const client = connect('mqtt://127.0.0.1');\n"],
    ['wall time', 'export const now = () => Date.now();\n'],
    ['randomness', 'export const dice = () => Math.random();\n'],
  ])('may not touch %s', (_, text) => {
    for (const name of ['rules', 'preprocess', 'decoders', 'onnx', 'protocol']) {
      place(`packages/${name}/src/index.ts`, text);
      const { status, output } = run('biome', 'lint', `packages/${name}/src/index.ts`);
      expect(status, output).not.toBe(0);
    }
  });

  it('may be pure', () => {
    expect(run('biome', 'lint', 'packages/rules/src/index.ts')).toMatchObject({ status: 0 });
  });
});
