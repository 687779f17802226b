import { Worker } from 'node:worker_threads';
import { BrinkError, isErrorCode } from '@brink/protocol';
import type { Clock, Logger } from '@brink/runtime';
import type { Metrics } from '../metrics.ts';
import { CONVERSIONS, type ConversionName, type InputOf, type OutputOf } from './conversions.ts';
import type { Conversion, Converted } from './converter-worker.ts';
import { portable } from './portable.ts';

/** Reads and writes messages: short ones at once, long ones in a thread, so that they keep nobody else from being answered. */
export interface Converter {
  /**
   * @param o bytes: of the message, as far as it has to be read or written element by element
   * @throws BrinkError as the conversion; E_BUSY, E_CANCELLED, E_TIMEOUT, E_CRASHED
   */
  convert<N extends ConversionName>(
    name: N,
    input: InputOf<N>,
    o: { bytes: number; signal: AbortSignal },
  ): Promise<OutputOf<N>>;
  stop(): Promise<void>;
}

/** Those are read where they are: about 3 ms of numbers as JSON. */
export const LONG_BYTES = 32 * 1024;
const WAITING_MAX = 256;
const WAITING_BYTES_MAX = 256 * 1024 * 1024;
/** A longer message lets others go first, by so much; who came so much earlier goes before them all the same. */
const MS_PER_BYTE = 0.001;
const CONVERT_MS_MAX = 20_000;

interface Waiting {
  readonly name: ConversionName;
  readonly input: unknown;
  readonly bytes: number;
  readonly dueAt: number;
  readonly signal: AbortSignal;
  readonly resolve: (output: never) => void;
  readonly reject: (reason: BrinkError) => void;
}

/** The thread is started when the first long message comes. */
export function createConverter(d: { metrics: Pick<Metrics, 'conversions'>; clock: Clock; logger: Logger }): Converter {
  const waiting: Waiting[] = [];
  let bytesHeld = 0;
  let running: Waiting | undefined;
  let worker: Worker | undefined;
  let late: ReturnType<Clock['setTimeout']> | undefined;
  let stopped = false;

  function start(): Worker {
    const started = new Worker(new URL('./converter-worker.ts', import.meta.url), { name: 'oip-messages' });
    started.on('message', (said: Converted) => {
      if (started === worker) end(said);
    });
    started.on('error', (reason: Error) => {
      d.logger.error({ err: reason }, 'the thread that reads long messages failed');
    });
    started.on('exit', () => {
      if (started !== worker) return;
      worker = undefined;
      if (running !== undefined) {
        end({ code: 'E_CRASHED', detail: 'the thread that reads long messages ended with it' });
      }
    });
    return started;
  }

  function next(): void {
    if (running !== undefined || stopped) return;
    running = takeFirst(waiting);
    if (running === undefined) return;
    if (running.signal.aborted) {
      end({ code: 'E_CANCELLED', detail: 'nobody waits for the answer any more' });
      return;
    }
    worker ??= start();
    late = d.clock.setTimeout(tooLong, CONVERT_MS_MAX);
    const transfer = new Set<ArrayBuffer>();
    const work = { name: running.name, input: portable(running.input, transfer) } as Conversion;
    worker.postMessage(work, [...transfer]);
  }

  function end(said: Converted): void {
    const done = running;
    if (done === undefined) return;
    running = undefined;
    if (late !== undefined) d.clock.clearTimeout(late);
    bytesHeld -= done.bytes;
    d.metrics.conversions.set(waiting.length);
    if ('output' in said) done.resolve(said.output as never);
    else done.reject(new BrinkError(isErrorCode(said.code) ? said.code : 'E_INTERNAL', said.detail));
    next();
  }

  function tooLong(): void {
    const slow = worker;
    worker = undefined;
    void slow?.terminate();
    end({ code: 'E_TIMEOUT', detail: `the message could not be read or written within ${CONVERT_MS_MAX} ms` });
  }

  return {
    async convert(name, input, { bytes, signal }) {
      if (bytes <= LONG_BYTES) return (CONVERSIONS[name] as (of: typeof input) => never)(input);
      if (stopped) throw new BrinkError('E_UNAVAILABLE', 'the service stops');
      if (waiting.length >= WAITING_MAX || (running !== undefined && bytesHeld + bytes > WAITING_BYTES_MAX)) {
        throw new BrinkError(
          'E_BUSY',
          `${waiting.length} long messages, ${bytesHeld} bytes, wait to be read or written`,
        );
      }
      bytesHeld += bytes;
      return new Promise((resolve, reject) => {
        const dueAt = d.clock.monotonic() + bytes * MS_PER_BYTE;
        waiting.push({ name, input, bytes, dueAt, signal, resolve, reject });
        d.metrics.conversions.set(waiting.length + (running === undefined ? 0 : 1));
        next();
      });
    },
    async stop() {
      stopped = true;
      const left = worker;
      worker = undefined;
      for (const one of waiting.splice(0)) one.reject(new BrinkError('E_UNAVAILABLE', 'the service stops'));
      end({ code: 'E_UNAVAILABLE', detail: 'the service stops' });
      await left?.terminate();
    },
  };
}

function takeFirst(waiting: Waiting[]): Waiting | undefined {
  let first = 0;
  for (const [at, { dueAt }] of waiting.entries()) if (dueAt < (waiting[first] as Waiting).dueAt) first = at;
  return waiting.splice(first, 1)[0];
}
