import { type Ack, AckSchema, BrinkError, type Command, CommandSchema } from '@brink/protocol';
import type { Clock, Logger } from '@brink/runtime';
import type { Keys } from './keys.ts';

/** What a handler gets besides the arguments. */
export interface CommandContext {
  readonly name: string;
  readonly key: string;
  /** The decision that led to it; `brink explain` knows the rest. */
  readonly because: string;
  /** Aborts when the device stops, or when the command takes longer than `commandMsMax`. */
  readonly signal: AbortSignal;
}

/**
 * Carries a command out. Returning means that it was done (200). `BrinkError('E_ACTION_REFUSED', why)` means that it was not and need
 * not be tried again (409); anything else thrown means that it failed (500).
 */
export type CommandHandler = (args: Command['args'], context: CommandContext) => void | Promise<void>;

export interface Commands {
  on(name: string, handler: CommandHandler): void;
  /** A message on `down/commands/{name}`. Never throws. */
  receive(name: string, payload: Uint8Array): void;
  /** Aborts what is running and refuses what waits. Resolves when nothing is carried out any more. */
  stop(): Promise<void>;
}

const WAITING_MAX = 100;

/**
 * Carries each key out at most once, one command after the other in the order of arrival (a flap that opens and closes at the
 * same time breaks), and answers each arrival: a key that comes again gets the answer that it got before.
 */
export function createCommands(
  o: { commandMsMax: number },
  d: { keys: Keys; clock: Clock; logger: Logger; acknowledge: (ack: Ack) => void },
): Commands {
  const handlers = new Map<string, CommandHandler>();
  const waiting = new Set<string>();
  const stopping = new AbortController();
  let last: Promise<void> = Promise.resolve();

  function receive(name: string, payload: Uint8Array): void {
    const parsed = parse(payload);
    if ('status' in parsed) {
      d.logger.warn({ command: name, ack: parsed }, 'a command that cannot be read');
      if (parsed.key !== '') d.acknowledge(parsed);
      return;
    }
    const { key } = parsed;
    const before = d.keys.find(key);
    if (before === 'running' || waiting.has(key)) return; // its answer is still to come
    if (before !== undefined) {
      d.acknowledge(before);
      return;
    }
    if (waiting.size >= WAITING_MAX) {
      d.acknowledge({ key, status: 503, error: `${WAITING_MAX} commands wait already` });
      return;
    }
    waiting.add(key);
    const arrivedMs = d.clock.monotonic();
    last = last.then(() => carryOut(name, parsed, arrivedMs)).finally(() => waiting.delete(key));
  }

  async function carryOut(name: string, command: Command, arrivedMs: number): Promise<void> {
    const ack = await answerTo(name, command, arrivedMs);
    await d.keys.answer(ack).catch((error: unknown) => {
      d.logger.error({ err: error, key: ack.key }, 'the answer to a command was not stored');
    });
    d.acknowledge(ack);
  }

  async function answerTo(name: string, command: Command, arrivedMs: number): Promise<Ack> {
    const { key } = command;
    const handler = handlers.get(name);
    if (handler === undefined) {
      return { key, status: 404, error: `no command "${name}"; known: ${[...handlers.keys()].join(', ') || 'none'}` };
    }
    try {
      // How long it was on its way is not known here (clocks may differ); how long it waited here is.
      const waitedMs = Math.round(d.clock.monotonic() - arrivedMs);
      if (command.expires_ms <= waitedMs) return { key, status: 410, error: `expired: it waited ${waitedMs} ms here` };
      if (stopping.signal.aborted) return { key, status: 503, error: 'the device is stopping' };
      await d.keys.begin(key);
      await within(o.commandMsMax, (signal) => handler(command.args, { name, key, because: command.because, signal }));
      return { key, status: 200 };
    } catch (reason) {
      return failure(key, reason);
    }
  }

  /** Waits for the handler, but not for ever: one that hangs must not hold up every command after it. */
  async function within(ms: number, carry: (signal: AbortSignal) => void | Promise<void>): Promise<void> {
    const limit = new AbortController();
    const signal = AbortSignal.any([stopping.signal, limit.signal]);
    const given = Promise.withResolvers<never>();
    const onAbort = () => given.reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const timer = d.clock.setTimeout(
      () => limit.abort(new BrinkError('E_TIMEOUT', `it took longer than ${ms} ms`)),
      ms,
    );
    try {
      await Promise.race([given.promise, Promise.resolve(carry(signal))]);
    } finally {
      d.clock.clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  return {
    on(name, handler) {
      handlers.set(name, handler);
    },
    receive,
    async stop() {
      stopping.abort(new BrinkError('E_CANCELLED', 'the device is stopping'));
      await last;
    },
  };
}

const STATUS = { E_ACTION_REFUSED: 409, E_TIMEOUT: 504, E_CANCELLED: 503 } as const;

function failure(key: string, reason: unknown): Ack {
  const error = BrinkError.from(reason);
  const status = Object.hasOwn(STATUS, error.code) ? STATUS[error.code as keyof typeof STATUS] : 500;
  return { key, status, error: error.detail.slice(0, 500) };
}

/** @returns the command, or what is to be answered instead; with an empty key where nothing can be */
function parse(payload: Uint8Array): Command | Ack {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(payload));
  } catch {
    return { key: '', status: 400, error: 'it is not JSON' };
  }
  const command = CommandSchema.safeParse(value);
  if (command.success && command.data.key.length <= 500) return command.data;
  const key = AckSchema.pick({ key: true }).loose().safeParse(value).data?.key ?? '';
  const why = command.error?.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ');
  return { key, status: 400, error: (why ?? 'key: expected at most 500 characters').slice(0, 500) };
}
