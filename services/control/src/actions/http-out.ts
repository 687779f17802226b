import { type LookupAddress, lookup } from 'node:dns';
import { isIP } from 'node:net';
import { BrinkError } from '@brink/protocol';
import type { Clock, Part } from '@brink/runtime';
import { Agent, type Dispatcher, errors, request } from 'undici';
import { type AddressRules, checkAddress } from './addresses.ts';

// The one way by which control sends HTTP to somebody else: webhooks, notifications, the heartbeat.

export interface HttpOutConfig {
  /** Of an answer; the rest is not read. Default 64 KB. */
  readonly answerBytesMax?: number;
}

export interface HttpOutDeps {
  readonly clock: Clock;
  /** All addresses of a name. Default: the system's resolver. */
  readonly resolve?: Resolve;
}

export type Resolve = (name: string, done: (error: Error | null, addresses: readonly LookupAddress[]) => void) => void;

export interface HttpPost {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Whether it may go to private addresses and to this machine. Link-local and the like never are. */
  readonly allowPrivate: boolean;
  /** For all of it, from the look-up to the answer. Default 5000. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpAnswer {
  readonly status: number;
  /** As text; cut where it was longer than `answerBytesMax` or did not end in time. Not decompressed. */
  readonly body: string;
  /** What the receiver asked for with Retry-After (RFC 9110 §10.2.3), in ms. */
  readonly retryAfterMs?: number;
}

export interface HttpOut extends Part {
  /**
   * POSTs and gives the answer, whatever its status is: 3xx too, for no redirect is followed.
   * @throws BrinkError E_SSRF_BLOCKED (never connected; the detail has the line to add), E_TIMEOUT, E_UNAVAILABLE (no
   * such name, refused, broken off, TLS), E_CANCELLED (the signal). Details name scheme and host, never path or query:
   * those of hooks are often secrets.
   */
  post(post: HttpPost): Promise<HttpAnswer>;
}

const ANSWER_BYTES_MAX = 64 * 1024;
const TIMEOUT_MS = 5000;
/** Of a connection that nobody uses: the pool must not hold those of targets that are gone. */
const IDLE_MS_MAX = 4000;

export function createHttpOut(config: HttpOutConfig, d: HttpOutDeps): HttpOut {
  const { answerBytesMax = ANSWER_BYTES_MAX } = config;
  // A connection that was opened under one set of rules is not used under another.
  const agents = new Map<string, Agent>();
  const agentFor = (rules: AddressRules): Agent => {
    const key = `${rules.allowPrivate} ${rules.plain}`;
    const agent = agents.get(key) ?? openAgent(rules, d.resolve ?? resolveAll);
    agents.set(key, agent);
    return agent;
  };

  return {
    async post({ url, headers, body, allowPrivate, timeoutMs = TIMEOUT_MS, signal }) {
      const target = parseTarget(url);
      const rules = { allowPrivate, plain: target.protocol === 'http:' };
      const literal = target.hostname.replace(/^\[|\]$/g, '');
      // The resolver is never asked about these.
      if (isIP(literal) !== 0) checkAddress(literal, literal, rules);
      const limit = startLimit(d.clock, timeoutMs, signal);
      try {
        const answer = await request(target, {
          ...{ method: 'POST', dispatcher: agentFor(rules), signal: limit.signal, body },
          headers: { ...headers, 'accept-encoding': 'identity' },
        });
        const text = await readAtMost(answer.body, answerBytesMax);
        const retryAfterMs = readRetryAfter(answer.headers['retry-after'], d.clock.now());
        return { status: answer.statusCode, body: text, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
      } catch (reason) {
        throw translate(reason, target.origin, timeoutMs, signal);
      } finally {
        limit.end();
      }
    },
    async start() {},
    /** Ends what is under way and closes all connections. */
    async stop() {
      const open = [...agents.values()];
      agents.clear();
      await Promise.all(open.map((agent) => agent.destroy()));
    },
  };
}

/** Proxies of the environment are not used: an agent of its own knows none. */
function openAgent(rules: AddressRules, resolve: Resolve): Agent {
  return new Agent({
    allowH2: false,
    pipelining: 1,
    keepAliveTimeout: IDLE_MS_MAX,
    keepAliveMaxTimeout: IDLE_MS_MAX,
    connect: {
      // What it gives is what the socket connects to: no second look-up that could answer otherwise (DNS rebinding).
      lookup(name, options, done) {
        resolve(name, (error, addresses) => {
          if (error !== null) return done(error, []);
          try {
            // Any, not the first one: which of them would be used is not ours to say.
            for (const { address } of addresses) checkAddress(address, name, rules);
          } catch (refusal) {
            return done(refusal as Error, []);
          }
          const [first] = addresses;
          if (first === undefined) return done(new Error(`${name} has no address`), []);
          if (options.all === true) return done(null, [...addresses]);
          done(null, first.address, first.family);
        });
      },
    },
  });
}

const resolveAll: Resolve = (name, done) => lookup(name, { all: true }, done);

function parseTarget(text: string): URL {
  const url = URL.parse(text);
  if (url !== null && (url.protocol === 'https:' || url.protocol === 'http:')) return url;
  throw new BrinkError('E_SSRF_BLOCKED', `the URL is ${url?.protocol ?? 'none'}; expected https:// or http://`);
}

/** Aborts after the time, or with the caller. */
function startLimit(clock: Clock, limitMs: number, signal: AbortSignal | undefined) {
  const late = new AbortController();
  const timer = clock.setTimeout(() => late.abort(), limitMs);
  return {
    signal: signal === undefined ? late.signal : AbortSignal.any([late.signal, signal]),
    end: () => clock.clearTimeout(timer),
  };
}

/** The status has come, so what breaks the body off changes nothing: it is kept as far as it came. */
async function readAtMost(body: Dispatcher.ResponseData['body'], limit: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const piece of body) {
      pieces.push(piece as Uint8Array);
      bytes += (piece as Uint8Array).byteLength;
      if (bytes >= limit) break;
    }
  } catch {
    // Broken off, or the time is up.
  }
  return Buffer.concat(pieces).subarray(0, limit).toString('utf8');
}

/** Seconds or a date. */
function readRetryAfter(header: string | string[] | undefined, nowMs: number): number | undefined {
  if (typeof header !== 'string') return undefined;
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - nowMs;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

function translate(reason: unknown, origin: string, timeoutMs: number, signal: AbortSignal | undefined): BrinkError {
  if (reason instanceof BrinkError) return reason;
  if (signal?.aborted) return new BrinkError('E_CANCELLED', `the request to ${origin} was given up`, { cause: reason });
  const late = reason instanceof errors.ConnectTimeoutError || (reason as Error).name === 'AbortError';
  if (late) return new BrinkError('E_TIMEOUT', `${origin} did not answer within ${timeoutMs} ms`, { cause: reason });
  const { code, message } = reason as NodeJS.ErrnoException;
  return new BrinkError('E_UNAVAILABLE', `${origin} is not reachable: ${code ?? message}`, { cause: reason });
}
