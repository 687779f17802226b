import type { BrinkError } from '@brink/protocol';
import type { Clock, Timer } from '@brink/runtime';
import type { HungRule } from './messages.ts';
import type { Thread } from './thread.ts';

// Conditions are bounded before they are run (packages/rules/src/cost.ts), so an evaluation that does not end is a fault
// of a library or of ours. A thread in an endless loop hears nobody: what it is at stands in memory that both share.

/** How often the other thread is looked at, ms. */
const LOOK_MS = 500;
/** An evaluation takes a hundred milliseconds at most; beyond so many looks in a row it does not end. */
const LOOKS_MAX = 10;

const NAME_BYTES = 64;
const RULES_MAX = 4096;
/** Two numbers, then the names: which evaluation it is, and of which rule (from 1; 0: of none). */
const COUNT = 0;
const RULE = 1;
const HEADER_BYTES = 8;

/** Where the writer says what it is at. */
export interface RuleWatch {
  /** The rules that there are from now on. */
  names(rules: Iterable<string>): void;
  /** The rule that is evaluated now; undefined: none. Some tens of nanoseconds. */
  at(rule: string | undefined): void;
}

/** @param hangOn only for tests: the evaluation of this rule does not end */
export function createRuleWatch(memory: SharedArrayBuffer | undefined, hangOn?: string): RuleWatch {
  if (memory === undefined) return { names() {}, at() {} };
  const numbers = new Int32Array(memory, 0, HEADER_BYTES / 4);
  const places = new Map<string, number>();
  Atomics.store(numbers, RULE, 0);
  return {
    names(rules) {
      places.clear();
      const bytes = new Uint8Array(memory, HEADER_BYTES);
      bytes.fill(0);
      for (const [index, rule] of [...rules].slice(0, RULES_MAX).entries()) {
        places.set(rule, index + 1);
        bytes.set(Buffer.from(rule).subarray(0, NAME_BYTES), index * NAME_BYTES);
      }
    },
    at(rule) {
      Atomics.add(numbers, COUNT, 1);
      Atomics.store(numbers, RULE, rule === undefined ? 0 : (places.get(rule) ?? 0));
      while (rule !== undefined && rule === hangOn);
    },
  };
}

/**
 * Looks at the writer while it is at work. Looks are counted, not milliseconds: a process that was stopped for a minute
 * and goes on finds nothing that hangs.
 */
export function createWatchdog(d: { clock: Clock; onHang(hung: HungRule): void }) {
  const memory = new SharedArrayBuffer(HEADER_BYTES + RULES_MAX * NAME_BYTES);
  const numbers = new Int32Array(memory, 0, HEADER_BYTES / 4);
  let timer: Timer | undefined;
  let count = 0;
  let looks = 0;
  let hung: HungRule[] = [];
  let hangs = 0;

  function look(): void {
    timer = d.clock.setTimeout(look, LOOK_MS);
    const now = Atomics.load(numbers, COUNT);
    const rule = Atomics.load(numbers, RULE);
    looks = rule !== 0 && now === count ? looks + 1 : 0;
    count = now;
    if (looks < LOOKS_MAX) return;
    stop();
    hangs += 1;
    const found = { rule: nameAt(rule), note: `an evaluation did not end within ${(LOOK_MS * LOOKS_MAX) / 1000} s` };
    hung.push(found);
    d.onHang(found);
  }

  function nameAt(rule: number): string {
    const bytes = new Uint8Array(memory, HEADER_BYTES + (rule - 1) * NAME_BYTES, NAME_BYTES);
    return Buffer.from(bytes).toString('latin1').replace(/\0+$/, '');
  }

  function stop(): void {
    if (timer !== undefined) d.clock.clearTimeout(timer);
    timer = undefined;
  }

  return {
    /** For the other thread. */
    memory,
    /** The same thread, watched from when something is posted to it until it answers. */
    over<In, Out>(thread: Thread<In, Out>): Thread<In, Out> {
      return {
        ...thread,
        start(onMessage, onGone) {
          const answered = (message: Out) => {
            stop();
            // What hung before is written down.
            hung = [];
            onMessage(message);
          };
          const ended = (error: BrinkError) => {
            stop();
            onGone(error);
          };
          return thread.start(answered, ended);
        },
        async stop() {
          await thread.stop();
          stop();
        },
        post(message) {
          thread.post(message);
          if (timer !== undefined) return;
          looks = 0;
          timer = d.clock.setTimeout(look, LOOK_MS);
        },
      };
    },
    /** To be set aside before anything else is done. */
    get hung(): readonly HungRule[] {
      return hung;
    },
    get hangs(): number {
      return hangs;
    },
  };
}
