import { parseArgs } from 'node:util';
import { BrinkError } from '@brink/protocol';

/** Where what a backup holds lies. */
export interface Places {
  /** Control's data folder: ledger.db lies in it. */
  readonly data: string;
  readonly config: string;
  readonly models: string;
  /** Users file of the embedded broker's devices, where there is one. */
  readonly devices: string | undefined;
}

/** What both programs take: `<file> --data --config --models --devices --json --force`. Exit 2 where called wrongly. */
export function readArguments(env: Readonly<Record<string, string | undefined>>): {
  file: string;
  places: Places;
  json: boolean;
  force: boolean;
} {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { data: text, config: text, models: text, devices: text, json: flag, force: flag },
    });
    const [file, ...more] = positionals;
    if (file === undefined || more.length > 0) throw new Error('expected the name of one file');
    const places = {
      data: values.data ?? env['BRINK_DATA_DIR'] ?? './data/control',
      config: values.config ?? env['BRINK_CONFIG_DIR'] ?? './config',
      models: values.models ?? env['BRINK_MODELS_DIR'] ?? './models',
      devices: values.devices ?? env['BRINK_DEVICES_FILE'],
    };
    return { file, places, json: values.json, force: values.force };
  } catch (error) {
    process.stderr.write(`${BrinkError.from(error).detail}\n`);
    process.exit(2);
  }
}

/** Prints what came of it, and ends with 0 or 1. */
export async function answer<T>(
  json: boolean,
  run: () => Promise<{ value: T; lines: readonly string[] }>,
): Promise<void> {
  try {
    const { value, lines } = await run();
    process.stdout.write(`${json ? JSON.stringify(value) : lines.join('\n')}\n`);
  } catch (reason) {
    const { code, detail } = BrinkError.from(reason);
    if (json) process.stdout.write(`${JSON.stringify({ error: { code, detail } })}\n`);
    else process.stderr.write(`${code}: ${detail}\n`);
    process.exitCode = 1;
  }
}
