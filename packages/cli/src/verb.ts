import { BrinkError } from '@brink/protocol';
import { type Command, InvalidArgumentError } from 'commander';
import { type Api, createApi, readToken } from './api.ts';
import { describe, type Paint, paintOn, type Terminal } from './terminal.ts';

/** 0: yes. 1: it ran, and the answer is no. 2: it was called wrongly. */
export type ExitCode = number;

/** What every verb gets. */
export interface Context {
  readonly terminal: Terminal;
  readonly paint: Paint;
  readonly json: boolean;
  readonly env: Record<string, string | undefined>;
  /** Aborts on Ctrl-C. */
  readonly signal: AbortSignal;
  /** Where the project lies: packages/, services/, config/, models/. */
  readonly root: string;
  /** Opened when it is asked for: most verbs read none. */
  readonly stdin: () => AsyncIterable<Uint8Array>;
  /** Prints a value as JSON, or the lines that say the same to people. */
  show(value: unknown, lines: readonly string[]): void;
}

/** What the process gives to the command line. */
export interface Edge {
  readonly terminal: Terminal;
  readonly env: Record<string, string | undefined>;
  readonly signal: AbortSignal;
  readonly root: string;
  /** Default: nothing to read. */
  readonly stdin?: () => AsyncIterable<Uint8Array>;
  exit(code: ExitCode): void;
}

export interface VerbOptions {
  json?: boolean;
  url?: string;
  tokenFile?: string;
}

/**
 * Adds --json and the example that every verb has, and turns what is thrown into a line and an exit code.
 * @param example what to type, with what it does
 */
export function verb<O extends VerbOptions>(
  edge: Edge,
  command: Command,
  example: readonly string[],
  action: (context: Context, options: O, ...args: string[]) => Promise<ExitCode>,
): Command {
  return command
    .option('--json', 'print JSON')
    .addHelpText('after', `\nExamples:\n${example.map((line) => `  $ ${line}`).join('\n')}`)
    .action(async (...all: unknown[]) => {
      // commander: the declared arguments, then the options, then the command.
      const options = all[all.length - 2] as O;
      const args = all.slice(0, -2).flat() as string[];
      const json = options.json === true;
      const { terminal, env, signal, root, stdin = empty } = edge;
      const show = (value: unknown, lines: readonly string[]) => {
        if (json) terminal.line(JSON.stringify(value));
        else for (const line of lines) terminal.line(line);
      };
      try {
        edge.exit(
          await action({ terminal, paint: paintOn(terminal), json, env, signal, root, stdin, show }, options, ...args),
        );
      } catch (reason) {
        const error = BrinkError.from(reason);
        if (error.code === 'E_CANCELLED' && signal.aborted) return edge.exit(0);
        if (json) terminal.line(JSON.stringify({ error: { code: error.code, detail: error.detail } }));
        else terminal.note(`${pathOf(command)}: ${describe(error)}`);
        if (error.code === 'E_INTERNAL' && reason instanceof Error) terminal.note(reason.stack ?? '');
        edge.exit(1);
      }
    });
}

async function* empty(): AsyncGenerator<Uint8Array> {}

/** `brink devices add` */
const pathOf = (command: Command): string =>
  command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;

const DEFAULT_URL = 'http://127.0.0.1:8080';

/** The options of a verb that asks control over HTTP. */
export function withApi(command: Command): Command {
  return command
    .option('--url <url>', `control's HTTP entrance (BRINK_URL, else ${DEFAULT_URL})`)
    .option('--token-file <file>', 'file with the token (BRINK_HTTP_TOKEN_FILE)');
}

/** Opens the entrance for the time of `use`. */
export async function usingApi<T>(context: Context, options: VerbOptions, use: (api: Api) => Promise<T>): Promise<T> {
  const token = readToken(options.tokenFile ?? context.env['BRINK_HTTP_TOKEN_FILE']);
  const url = options.url ?? filled(context.env['BRINK_URL']) ?? DEFAULT_URL;
  const api = createApi({ url, ...(token === undefined ? {} : { token }) });
  try {
    return await use(api);
  } finally {
    await api.close();
  }
}

export const filled = (text: string | undefined) => (text === '' ? undefined : text);

/** For commander: a whole number within limits, else exit 2. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d{1,12}$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`expected a whole number from ${min} to ${max}`);
    }
    return value;
  };
}

/** For commander: a code of the error table, as far as its form goes, else exit 2. */
export function errorCode(text: string): string {
  if (!/^E_[A-Z_]{1,40}$/.test(text)) throw new InvalidArgumentError('expected a code, as E_IMAGE_TYPE');
  return text;
}

/** For commander: a number within limits, else exit 2. */
export function number(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d{1,9}(\.\d{1,6})?$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`expected a number from ${min} to ${max}`);
    }
    return value;
  };
}
