import { BrinkError } from '@brink/protocol';
import type { Decided, Inference } from './inference.ts';
import { eventually } from './inference.ts';

export interface RefereeOptions {
  /** Attempts that a unit gets, as at a gateway. */
  readonly attemptsMax: number;
  readonly askers: number;
  /** Units of one request, taken in turn. */
  readonly sizes: readonly number[];
}

/** What became of one unit. */
interface Fate {
  answers: number;
  attempts: number;
  /** 'decided', or the code that it ended with */
  end: string;
}

export interface Referee {
  /** Asks until told to stop, and then until every unit has its end. */
  readonly run: Promise<void>;
  stop(): void;
  /** Units that have their end. */
  readonly ended: number;
  /** Attempts that ended in a crash or a hang, by code. */
  readonly attempts: ReadonlyMap<string, number>;
  /** The longest time without an answer, in ms. */
  readonly gapMs: number;
  /** Resolves when so many units more have their end than have it now. */
  more(units: number): Promise<void>;
  verdict(): { asked: number; decided: number; twice: number; strange: number; ends: Record<string, number> };
}

/** The unit's number is its picture, and the model answers with the picture: an answer says whose it is. */
const pictureOf = (unit: number) => Uint8Array.of(unit >>> 24, (unit >>> 16) & 0xff, (unit >>> 8) & 0xff, unit & 0xff);
const LABELS = ['zero', 'one', 'two', 'three'];

/** @returns the number of the unit whose answer this is */
function unitOf({ top }: Decided): number {
  const pixel = (label: string | undefined) => top.find((one) => one.label === label)?.raw ?? Number.NaN;
  return LABELS.reduce((number, label) => number * 256 + pixel(label), 0);
}

/**
 * Load, and the count of what became of it: asks as a gateway does (an attempt is asked again by itself, what may pass is
 * asked again) and keeps books by unit. It knows nothing of the service but its answers. An answer on the wire to what was not
 * asked, or was answered already, closes the link (CONTRACTS §6), and would end the load here.
 * @param of the model as it is announced now
 */
export function createReferee(
  o: RefereeOptions,
  d: { inference: Inference; of: () => { name: string; version?: number; passport: string } },
): Referee {
  const fates = new Map<number, Fate>();
  const attempts = new Map<string, number>();
  let stopped = false;
  let ended = 0;
  let strange = 0;
  let lastAt = performance.now();
  let gapMs = 0;

  function heard(): void {
    const now = performance.now();
    gapMs = Math.max(gapMs, now - lastAt);
    lastAt = now;
  }

  function end(unit: number, how: string): void {
    const fate = fates.get(unit) as Fate;
    fate.answers += 1;
    fate.end = how;
    ended += 1;
    heard();
  }

  /** @returns whether it is asked again */
  function take(unit: number, answer: Decided): boolean {
    const fate = fates.get(unit) as Fate;
    if (answer.code === undefined) {
      if (unitOf(answer) !== unit) strange += 1;
      end(unit, 'decided');
      return false;
    }
    if (answer.attempt) {
      fate.attempts += 1;
      attempts.set(answer.code, (attempts.get(answer.code) ?? 0) + 1);
      if (fate.attempts < o.attemptsMax) return true;
    } else if (mayPass(answer.code)) return true;
    end(unit, answer.code);
    return false;
  }

  /** One request. @returns the units that are to be asked again */
  async function askOnce(units: readonly number[]): Promise<number[]> {
    const request = units.map((unit) => ({
      pixels: pictureOf(unit),
      shape: [1, LABELS.length, 1],
      attempts: fates.get(unit)?.attempts ?? 0,
    }));
    try {
      const answers = await d.inference.decide(d.of(), request);
      if (answers.length !== units.length) strange += 1;
      return units.filter((unit, at) => take(unit, answers[at] as Decided));
    } catch (reason) {
      // Of the request as a whole: none of its units was taken.
      const { code } = BrinkError.from(reason);
      if (mayPass(code)) return [...units];
      for (const unit of units) end(unit, code);
      return [];
    }
  }

  async function ask(units: readonly number[]): Promise<void> {
    for (let left = await askOnce(units); left.length > 0; left = await askOnce(left)) {
      // As a gateway does after a refusal that may pass.
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  async function asker(first: number): Promise<void> {
    for (let round = 0; !stopped; round++) {
      const size = o.sizes[round % o.sizes.length] ?? 1;
      const units = Array.from({ length: size }, (_, i) => first + round * 16 + i);
      for (const unit of units) fates.set(unit, { answers: 0, attempts: 0, end: '' });
      await ask(units);
    }
  }

  // 2^24 numbers for each: every unit of the load has its own.
  const run = Promise.all(Array.from({ length: o.askers }, (_, i) => asker(i * 2 ** 24))).then(() => {});

  return {
    run,
    stop() {
      stopped = true;
    },
    get ended() {
      return ended;
    },
    attempts,
    get gapMs() {
      return gapMs;
    },
    async more(units) {
      const from = ended;
      await eventually(`${units} more answers`, async () => ended >= from + units);
    },
    verdict() {
      const all = [...fates.values()];
      const ends: Record<string, number> = {};
      for (const { end: how } of all) ends[how] = (ends[how] ?? 0) + 1;
      return {
        asked: all.length,
        decided: ends['decided'] ?? 0,
        twice: all.filter(({ answers }) => answers !== 1).length,
        strange,
        ends,
      };
    },
  };
}

const PAUSE_MS = 20;
/** What a gateway waits for and asks again. */
const PASSING = new Set(['E_BUSY', 'E_MODEL_NOT_READY', 'E_PASSPORT_CHANGED', 'E_MODEL_UNKNOWN', 'E_CANCELLED']);
const mayPass = (code: string) => PASSING.has(code);
