import { readFileSync } from 'node:fs';
import { BrinkError } from '@brink/protocol';
import { type Clock, wait } from '@brink/runtime';
import { Agent, request } from 'undici';

export interface SnapshotOptions {
  /** Of one picture: `http://192.168.1.40/capture`. */
  readonly url: string;
  readonly everyMs: number;
  /** From the request to the last byte. */
  readonly timeoutMs: number;
  readonly bytesMax: number;
  /** As `authFrom` reads it. */
  readonly authorization?: string;
}

/** What is told once when it begins and once when it ends, however often it is tried meanwhile. */
export interface SnapshotNews {
  failing(error: BrinkError): void;
  back(): void;
}

const BACKOFF_MS_MAX = 60_000;

/**
 * Fetches a picture every `everyMs`, by the clock and never two at once, until the signal aborts. A camera that does not answer is
 * asked less and less often, up to once a minute, at random moments, so that many bridges do not ask at once when the power is back.
 */
export async function* snapshots(
  o: SnapshotOptions,
  d: { clock: Clock; random: () => number; signal: AbortSignal; news: SnapshotNews },
): AsyncGenerator<{ bytes: Uint8Array; contentType?: string }, void> {
  const agent = new Agent({ connect: { timeout: o.timeoutMs }, connections: 1 });
  const pause = (ms: number) => wait(Math.max(0, ms), d.clock, d.signal).catch(() => {});
  let failures = 0;
  try {
    for (let dueMs = d.clock.monotonic(); !d.signal.aborted; ) {
      try {
        const picture = await fetchPicture(agent, o, d);
        if (failures > 0) d.news.back();
        failures = 0;
        yield picture;
      } catch (reason) {
        if (d.signal.aborted) return;
        if (failures === 0) d.news.failing(BrinkError.from(reason, 'E_UNAVAILABLE'));
        failures += 1;
        await pause(o.everyMs + d.random() * Math.min(BACKOFF_MS_MAX, o.everyMs * 2 ** failures));
        dueMs = d.clock.monotonic();
        continue;
      }
      // Late? Then from now on: what was missed is not fetched all at once.
      dueMs = Math.max(dueMs + o.everyMs, d.clock.monotonic());
      await pause(dueMs - d.clock.monotonic());
    }
  } finally {
    await agent.destroy();
  }
}

async function fetchPicture(
  agent: Agent,
  { url, timeoutMs, bytesMax, authorization }: SnapshotOptions,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<{ bytes: Uint8Array; contentType?: string }> {
  const limit = new AbortController();
  const end = () => limit.abort(new BrinkError('E_CANCELLED', 'the bridge is ending'));
  const late = new BrinkError('E_TIMEOUT', `no picture within ${timeoutMs} ms`);
  const timer = clock.setTimeout(() => limit.abort(late), timeoutMs);
  signal.addEventListener('abort', end, { once: true });
  try {
    const { statusCode, headers, body } = await request(url, {
      dispatcher: agent,
      signal: limit.signal,
      headers: authorization === undefined ? {} : { authorization },
    });
    const type = String(headers['content-type'] ?? '').split(';', 1)[0] as string;
    if (statusCode === 200) refuseType(type);
    const bytes = await bounded(body, bytesMax);
    if (statusCode !== 200) {
      throw new BrinkError('E_UNAVAILABLE', `the camera answers HTTP ${statusCode}${hint(statusCode)}`);
    }
    if (bytes.length === 0) throw new BrinkError('E_EMPTY', 'the camera answers nothing; expected a picture');
    return /^image\/(jpeg|png|webp)$/.test(type) ? { bytes, contentType: type } : { bytes };
  } catch (error) {
    throw limit.signal.aborted ? limit.signal.reason : error;
  } finally {
    clock.clearTimeout(timer);
    signal.removeEventListener('abort', end);
    // What is not read to its end would hold the connection.
    limit.abort(late);
  }
}

/** A page to log in, or a stream without end: neither is read. */
function refuseType(type: string): void {
  if (!type.startsWith('text/') && !type.startsWith('multipart/')) return;
  const stream = type.startsWith('multipart/') ? '; a stream goes into --mjpeg' : '';
  throw new BrinkError('E_TYPE', `the camera answers ${type.slice(0, 60)}; expected one JPEG, PNG or WebP${stream}`);
}

function hint(status: number): string {
  if (status === 401) return '; give --auth-file (basic authentication only)';
  return status >= 300 && status < 400 ? '; it wants another address' : '';
}

async function bounded(body: AsyncIterable<Buffer>, bytesMax: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body) {
    bytes += part.length;
    if (bytes > bytesMax) throw new BrinkError('E_TOO_LARGE', `the picture has more than ${bytesMax} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts, bytes);
}

/**
 * Basic authentication from a file with `user:password`, so that neither stands in the list of processes.
 * @throws BrinkError E_SETTING
 */
export function authFrom(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new BrinkError('E_SETTING', `${file} cannot be read: ${BrinkError.from(error).detail}`, { cause: error });
  }
  if (!/^[^:\r\n]+:[^\r\n]+$/.test(text)) throw new BrinkError('E_SETTING', `${file} holds no line user:password`);
  return `Basic ${Buffer.from(text).toString('base64')}`;
}
