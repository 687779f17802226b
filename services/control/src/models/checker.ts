import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { BrinkError, isErrorCode } from '@brink/protocol';
import { z } from 'zod';

// What an upload holds is read in a process of its own: a graph that takes all memory or never ends takes that process along, not
// control. It is the command line's `brink models add`, so that there is one opinion of what a model is and one way into the folder.

const CLI = fileURLToPath(new URL('../../../../packages/cli/bin/brink.js', import.meta.url));
const CHECK_MS_MAX = 60_000;
/** Weights are not on the heap; what a graph says of itself is. */
const HEAP_MB_MAX = 512;
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
const PROBLEMS_SHOWN_MAX = 20;

const AnswerSchema = z.union([
  z.object({
    ok: z.literal(true),
    name: z.string(),
    version: z.number().int(),
    bytes: z.number(),
    passport: z.boolean(),
  }),
  z.object({
    ok: z.literal(false),
    problems: z.array(z.object({ path: z.string(), given: z.string(), expected: z.string() })),
  }),
  z.object({ error: z.object({ code: z.string(), detail: z.string() }) }),
]);

export interface AddedModel {
  readonly name: string;
  readonly version: number;
  readonly bytes: number;
  /** Pipelines can name it; else only the Open Inference Protocol reaches it. */
  readonly passport: boolean;
}

/**
 * Checks a model (passport, hashes, graph) and puts it into the models folder by rename.
 * @param given a folder of a version, or an .onnx file
 * @throws BrinkError E_PASSPORT, E_MODEL_HASH, E_MODEL_PARSE, E_MODEL_OP, E_MODEL_EXTERNAL: what is wrong with it; E_CONFLICT (the
 * version is there), E_STORAGE_FULL (quota or disk), E_STORAGE_READONLY, E_TIMEOUT, E_CRASHED
 */
export async function addModelFrom(
  given: string,
  o: {
    readonly modelsDir: string;
    readonly name: string;
    readonly version: number | undefined;
    readonly mbMax: number;
  },
): Promise<AddedModel> {
  const version = o.version === undefined ? [] : ['--version', String(o.version)];
  const args = ['models', 'add', given, '--json', '--models-dir', o.modelsDir, '--name', o.name, ...version];
  const text = await runCli([...args, '--quota-mb', String(o.mbMax)]);
  const answer = AnswerSchema.safeParse(jsonOf(text)).data;
  if (answer === undefined)
    throw new BrinkError('E_CRASHED', 'the process that checked the model ended without a verdict');
  if ('error' in answer) {
    const { code, detail } = answer.error;
    throw new BrinkError(isErrorCode(code) ? code : 'E_INTERNAL', detail);
  }
  if (answer.ok) return answer;
  const [first] = answer.problems;
  const lines = answer.problems
    .slice(0, PROBLEMS_SHOWN_MAX)
    .map(({ path, given: found, expected }) => `${path}: found ${found}; expected ${expected}`);
  throw new BrinkError(codeOf(first), lines.join('\n'));
}

function codeOf(problem: { path: string; given: string } | undefined) {
  const said = /^(E_[A-Z_]+): /.exec(problem?.given ?? '')?.[1] ?? '';
  if (isErrorCode(said)) return said;
  return /^files\[\d+\]\.(sha256|bytes)$/.test(problem?.path ?? '') ? 'E_MODEL_HASH' : 'E_PASSPORT';
}

function runCli(args: readonly string[]): Promise<string> {
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', `--max-old-space-size=${HEAP_MB_MAX}`, CLI, ...args],
    // Nothing of what control knows: no tokens, no settings.
    { stdio: ['ignore', 'pipe', 'ignore'], env: {}, timeout: CHECK_MS_MAX, killSignal: 'SIGKILL' },
  );
  const parts: Buffer[] = [];
  let bytes = 0;
  child.stdout.on('data', (part: Buffer) => {
    bytes += part.length;
    if (bytes > ANSWER_BYTES_MAX) child.kill('SIGKILL');
    else parts.push(part);
  });
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(BrinkError.from(error, 'E_CRASHED')));
    child.on('close', (code, signal) => {
      if (code !== null) return resolve(Buffer.concat(parts).toString('utf8'));
      const why =
        signal === 'SIGKILL' ? `took longer than ${CHECK_MS_MAX} ms, or too much memory` : `ended with ${signal}`;
      return reject(new BrinkError('E_TIMEOUT', `checking the model ${why}`));
    });
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
