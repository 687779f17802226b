import { type Assembler, createAssembler, type FormedWindow } from '@brink/preprocess';
import { BrinkError } from '@brink/protocol';
import type { SamplesPlan } from '../ingest/plan.ts';
import type { ServingModel } from '../models/models.ts';
import type { FormedUnit } from './formed.ts';
import { packMark, packStates, unpackMark, unpackStates } from './kept.ts';
import { Memory } from './memory.ts';
import type { Samples } from './samples.ts';
import { Trail } from './trail.ts';

/** More at once is a device that sends a night in one frame, and would hold up all others. */
const UNITS_PER_FRAME_MAX = 4096;
/** Zeros for what is missing, in samples; a longer gap begins anew. */
const FILL_MAX = 1_000_000;

/** One frame as its place in the samples sees it. */
export interface Part {
  readonly seq: number;
  /** Of its first sample, where the device says it. */
  readonly at: number | undefined;
}

interface Segment {
  readonly seq: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Where one pipeline stands in the samples of one boot of a device: frames of any size go in, in their order, and what they
 * complete comes out. Windows lie at absolute positions: those that the device says (`at`), or counted from the first frame
 * after the last gap.
 */
export class Chain {
  readonly boot: string;
  readonly #plan: SamplesPlan | undefined;
  readonly memory: Memory;
  /** It goes on with what another remembers, and not yet at its place in the samples. */
  #isHeir: boolean;
  #assembler: Assembler | undefined;
  #rateHz = 0;
  /** The inputs that the assembler works for. */
  #inputsKey = '';
  #lastSeq: number | undefined;
  /** Behind a unit after another number of gaps the model begins anew. */
  #gaps = 0;
  /** Which frames hold the samples that are still needed. */
  #segments: Segment[] = [];
  /** Grows with every gap: positions of before mean nothing after it. */
  #epoch = 0;
  /** Of the assembler that the last process had, until it is known whether its passport is still the one. */
  #marked: { bytes: Uint8Array; at: number } | undefined;
  /** Of a durable stream: its rows. */
  readonly trail = new Trail();

  constructor(boot: string, plan: SamplesPlan | undefined, memory?: Memory) {
    this.boot = boot;
    this.#plan = plan;
    this.memory = memory ?? new Memory();
    this.#isHeir = memory !== undefined;
  }

  /** One that begins with `restore` and gets the same frames again, from where nothing of them is kept; they remember as one. */
  again(plan: SamplesPlan | undefined): Chain {
    return new Chain(this.boot, plan, this.memory);
  }

  get isToBeRestored(): boolean {
    return this.#isHeir;
  }

  /** Goes on where another process, or another configuration, stopped. */
  restore({ mark, states }: { mark?: Uint8Array; states?: Uint8Array }): void {
    // What the disk has of an heir is older than what it knows.
    if (states !== undefined && !this.#isHeir) this.memory.restore(unpackStates(states));
    this.#isHeir = false;
    if (mark === undefined) return;
    const { assembler, at, rateHz, inputsKey, lastSeq, gaps } = unpackMark(mark);
    this.#lastSeq = lastSeq;
    this.#rateHz = rateHz;
    this.#inputsKey = inputsKey;
    this.#gaps = gaps;
    if (assembler !== undefined) this.#marked = { bytes: assembler, at };
  }

  /** Enough for `restore`, given all frames that come from here on. */
  mark(): Uint8Array {
    const [rateHz, inputsKey, gaps] = [this.#rateHz, this.#inputsKey, this.#gaps];
    const assembler = this.#assembler?.mark() ?? this.#marked?.bytes;
    const at = this.#assembler?.at ?? this.#marked?.at ?? 0;
    return packMark({ assembler, at, rateHz, inputsKey, lastSeq: this.#lastSeq ?? 0, gaps });
  }

  /** The state after the unit that was decided last, for `restore`. */
  keptStates(seq: number): Uint8Array {
    return packStates(this.memory.kept(seq));
  }

  /** The inputs that its windows are cut for; empty before the first. */
  get inputsKey(): string {
    return this.#inputsKey;
  }

  /** Of samples that are kept for later windows. */
  get bytes(): number {
    return this.#assembler?.bytes ?? 0;
  }

  get standing(): { epoch: number; at: number; needed: number } {
    const { at = 0, neededFrom = Number.POSITIVE_INFINITY } = this.#assembler ?? {};
    return { epoch: this.#epoch, at, needed: neededFrom };
  }

  /** Nothing of what came is waited for any more: what comes begins anew. */
  end(): void {
    this.#assembler = undefined;
    this.#marked = undefined;
    this.#epoch += 1;
  }

  /**
   * The samples of one frame. A frame that comes late, after one with a higher number, brings nothing.
   * @returns what it completes; a single one with an error where it cannot be used
   */
  push(part: Part, samples: Samples, model: ServingModel): FormedUnit[] {
    if (this.#lastSeq !== undefined && part.seq <= this.#lastSeq) return [];
    try {
      return this.#push(part, samples, model);
    } catch (reason) {
      // Half of it may be in there.
      this.end();
      this.#lastSeq = part.seq;
      const frames = { first: part.seq, last: part.seq, received: 1 };
      return [
        {
          ...{ window: undefined, error: BrinkError.from(reason, 'E_DECODE'), gaps: undefined, frames },
          inputsKey: model.inputsKey,
        },
      ];
    }
  }

  #push(part: Part, samples: Samples, model: ServingModel): FormedUnit[] {
    const rateHz = samples.rateHz ?? model.rateHz;
    const length = samples.channels[0]?.length ?? 0;
    checkCount(length, rateHz, model);
    const windows: FormedWindow[] = [];
    const skip = this.#place(part, length, { rateHz, model }, windows);
    const { seq } = part;
    this.#lastSeq = seq;
    const assembler = this.#assembler as Assembler;
    const from = assembler.at;
    if (skip < length) {
      windows.push(
        ...assembler.push(skip === 0 ? samples.channels : samples.channels.map((all) => all.subarray(skip))),
      );
      this.#segments.push({ seq, from, to: assembler.at });
    }
    const formed = windows.map((window) => this.#formed(window, seq, model));
    const { neededFrom } = assembler;
    const gone = this.#segments.findIndex(({ to }) => to > neededFrom);
    if (gone !== 0) this.#segments = gone < 0 ? [] : this.#segments.slice(gone);
    return formed;
  }

  /**
   * Brings the assembler to where the frame begins.
   * @param windows gets what zeros in front of it complete
   * @returns how many of its samples were there before
   */
  #place(
    { seq, at }: Part,
    length: number,
    { rateHz, model }: { rateHz: number; model: ServingModel },
    windows: FormedWindow[],
  ): number {
    const there = this.#sameSource(rateHz, model);
    if (there === undefined) {
      this.#begin(at ?? 0, rateHz, model, true);
      return 0;
    }
    if (at === undefined) {
      if (seq !== (this.#lastSeq ?? 0) + 1) this.#begin(0, rateHz, model, true);
      return 0;
    }
    const missing = at - there.at;
    // The device says again what it said before, and then goes on.
    if (missing < 0 && at + length > there.at) return -missing;
    if (missing > 0 && this.#mayFill(missing, rateHz, model)) {
      windows.push(...there.push((this.#plan?.channels ?? []).map(() => new Float32Array(missing))));
    } else if (missing !== 0) this.#begin(at, rateHz, model, true);
    return 0;
  }

  /** @returns the assembler, where the samples go on at this rate */
  #sameSource(rateHz: number, model: ServingModel): Assembler | undefined {
    if (rateHz !== this.#rateHz) return undefined;
    if (this.#marked !== undefined) this.#resume(this.#marked, model);
    const there = this.#assembler;
    if (there === undefined) return undefined;
    // Another version that wants its input otherwise: from here on, at the same positions.
    if (model.inputsKey !== this.#inputsKey) this.#begin(there.at, rateHz, model, false);
    return this.#assembler;
  }

  /** From the mark of before; where the model wants its input otherwise now, from that position on. */
  #resume({ bytes, at }: { bytes: Uint8Array; at: number }, model: ServingModel): void {
    this.#marked = undefined;
    const channels = this.#plan?.channels ?? [];
    try {
      const passport = { inputs: [...model.inputs] };
      this.#assembler = createAssembler(passport, { channels, rateHz: this.#rateHz, mark: bytes });
    } catch {
      this.#begin(at, this.#rateHz, model, false);
    }
    this.#inputsKey = model.inputsKey;
  }

  #mayFill(missing: number, rateHz: number, model: ServingModel): boolean {
    return this.#plan?.fill === true && missing <= FILL_MAX && unitsIn(missing, rateHz, model) <= UNITS_PER_FRAME_MAX;
  }

  #begin(at: number, rateHz: number, model: ServingModel, isGap: boolean): void {
    const channels = this.#plan?.channels ?? [];
    this.#assembler = createAssembler({ inputs: [...model.inputs] }, { channels, rateHz, at });
    this.#rateHz = rateHz;
    this.#inputsKey = model.inputsKey;
    this.#segments = [];
    this.#marked = undefined;
    this.#epoch += 1;
    if (isGap) this.#gaps += 1;
  }

  #formed(window: FormedWindow, seq: number, { inputsKey }: ServingModel): FormedUnit {
    const looked = this.#segments.filter(({ from, to }) => from < window.to && to > window.from);
    const frames = { first: looked[0]?.seq ?? seq, last: seq, received: Math.max(1, looked.length) };
    return { window, error: undefined, gaps: this.#gaps, frames, inputsKey };
  }
}

/** @throws BrinkError E_TOO_LARGE */
function checkCount(length: number, rateHz: number, model: ServingModel): void {
  const count = unitsIn(length, rateHz, model);
  if (count <= UNITS_PER_FRAME_MAX) return;
  throw new BrinkError(
    'E_TOO_LARGE',
    `${length} samples complete some ${Math.round(count)} units; expected at most ${UNITS_PER_FRAME_MAX} of one frame`,
  );
}

const unitsIn = (length: number, rateHz: number, { hopSeconds }: ServingModel) => length / rateHz / hopSeconds;
