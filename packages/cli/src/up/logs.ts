import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';

export interface LogFile {
  write(line: string): void;
  close(): void;
}

/** Each service keeps this much twice: the file and the one before it. */
const LOG_BYTES_MAX = 5 * 1024 * 1024;

/** A log that cannot fill the disk. Failures are ignored: losing log lines must not stop the services. */
export function openLog(path: string, bytesMax = LOG_BYTES_MAX): LogFile {
  let file: number | undefined;
  let bytes = 0;
  const open = () => {
    file = openSync(path, 'a', 0o600);
    bytes = fstatSync(file).size;
  };
  const attempt = (fn: () => void) => {
    try {
      fn();
    } catch {
      file = undefined;
    }
  };
  attempt(open);
  return {
    write(line) {
      const text = `${line}\n`;
      attempt(() => {
        if (file !== undefined && bytes + text.length > bytesMax) {
          closeSync(file);
          renameSync(path, `${path}.1`);
          open();
        }
        if (file !== undefined) bytes += writeSync(file, text);
      });
    },
    close: () =>
      attempt(() => {
        if (file !== undefined) closeSync(file);
        file = undefined;
      }),
  };
}

// pino's numbers.
const WARN = 40;
const ERROR = 50;
/** What every line has, and what is said already. */
const KNOWN = new Set(['level', 'time', 'pid', 'hostname', 'service', 'msg', 'err', 'stack', 'tail']);

/** What people should see at once of a log. */
interface Notable {
  readonly severe: boolean;
  readonly text: string;
  /** Of which one line in a while is enough. */
  readonly kind?: string;
}

/** A line of a service's log that people should see at once: warnings and worse, or anything that is no log line. */
export function notable(line: string): Notable | undefined {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return { severe: false, text: line };
  }
  const level = Number(entry['level']);
  if (!(level >= WARN)) return undefined;
  if (entry['service'] === 'broker' && typeof entry['detail'] === 'string') return refusedByBroker(entry);
  const error = entry['err'] as { message?: unknown } | undefined;
  const details = Object.entries(entry)
    .filter(([key, value]) => !KNOWN.has(key) && value !== null && value !== undefined)
    .map(([key, value]) => `${key} ${typeof value === 'string' ? value : JSON.stringify(value)}`);
  if (error?.message !== undefined) details.unshift(String(error.message));
  const text = `${String(entry['msg'] ?? '')}${details.length === 0 ? '' : `: ${details.join(', ')}`}`;
  return { severe: level >= ERROR, text: text.slice(0, 400) };
}

/** What a device did that the broker does not take, or that nobody hears: of each kind and device one line. */
function refusedByBroker({ msg, reason, code, detail }: Record<string, unknown>): Notable {
  const text = `${String(msg)}${code === undefined ? '' : ` ${String(code)}`}: ${String(detail)}`.slice(0, 400);
  // The client's name will not do: many a program takes a new one each time.
  const [, device = ''] = /"(\/?[^"/]*\/[^"/]*)/.exec(String(detail)) ?? [];
  return { severe: false, text, kind: `${String(reason)} ${device}` };
}

const REPEAT_MS = 10_000;
const KINDS_MAX = 1000;

/** @param now in ms @returns whether something of this kind was shown a moment ago */
export function createRepeats(now: () => number): (kind: string | undefined) => boolean {
  const shownAt = new Map<string, number>();
  return (kind) => {
    if (kind === undefined) return false;
    if (now() - (shownAt.get(kind) ?? Number.NEGATIVE_INFINITY) < REPEAT_MS) return true;
    if (shownAt.size >= KINDS_MAX) shownAt.clear();
    shownAt.set(kind, now());
    return false;
  };
}
