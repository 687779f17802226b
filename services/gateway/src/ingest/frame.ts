import { hash } from 'node:crypto';
import type { FrameId } from '@brink/protocol';
import { giveBack } from '@brink/runtime';
import type { Samples } from '../window/samples.ts';
import type { PipelinePlan, StreamPlan } from './plan.ts';

/** One frame that was accepted, until the last of its units is settled. */
export interface Frame {
  readonly id: FrameId;
  readonly plan: StreamPlan;
  /**
   * In memory that goes to another frame once this one's only unit is decided (`spent`): whoever wants to keep the bytes
   * longer copies them, or sets `kept` before.
   */
  payload: Uint8Array;
  /** Somebody keeps `payload` for longer than the units need it. */
  kept?: boolean;
  readonly type: string;
  /** Where the device says it: the position of its first sample since it started. */
  readonly at?: number | undefined;
  /** Of audio and signals: what the payload says, until it was cut into windows. */
  samples?: Samples | undefined;
  /** The gateway's clock: ms since 1970, for people and rules. */
  readonly receivedMs: number;
  /** The same moment on the monotonic clock, for ages and limits. */
  readonly receivedAt: number;
  readonly traceparent: string | undefined;
  /** Whether a unit was formed of it: from then on its replacement is counted unit by unit. */
  formed: boolean;
  /** Lanes in which it waits. */
  waiting: number;
  /** Told of each unit's end, where somebody waits for it (frames posted over HTTP). */
  readonly onSettled: OnSettled | undefined;
  /** Of audio and signals: the units that it completed, once that is known. */
  units?: readonly { readonly pipeline: PipelinePlan; readonly part: number }[] | undefined;
  sha256: string | undefined;
  /** Of the bytes as they are kept: masked, without metadata. */
  keptSha256?: string;
  /** Of a durable stream: its row in the spool. */
  readonly spooled: Spooled | undefined;
}

/** @param pipeline undefined: nothing ended, but its units are known now */
type OnSettled = (pipeline: PipelinePlan | undefined, part: number, fate: 'committed' | 'dropped') => void;

/** A row of the spool: what is left to be decided about one frame. */
export interface Spooled {
  readonly id: number;
  readonly device: string;
  readonly stream: string;
  readonly boot: string;
  readonly seq: number;
  readonly bytes: number;
  /** ms since 1970 */
  readonly receivedMs: number;
  /** Units that are not settled, by `unitKey`. */
  readonly left: Set<string>;
  /** Those of them that are being decided, or on their way to control. */
  readonly out: Set<string>;
  /** Tries of each unit, as they are committed. */
  readonly attempts: Map<string, number>;
  /** Of sounds and signals: pipelines that have not cut it into windows yet, or still need its samples. */
  readonly samples: Map<string, 'uncut' | 'needed'> | undefined;
  /** Pipelines whose cut is on its way to the disk, and what waits for that. */
  readonly cutting: Map<string, (() => void)[]>;
}

/** One unit of a frame, within it. No pipeline's name has a slash. */
export const unitKey = (pipeline: string, part: number) => (part === 0 ? pipeline : `${pipeline}/${part}`);

/** What a `unitKey` says. */
export function unitOf(key: string): { pipeline: string; part: number } {
  const [pipeline = '', part = '0'] = key.split('/');
  return { pipeline, part: Number(part) };
}

/** Of the bytes as received. Worked out when a unit needs it: frames that are dropped never pay for it. */
export function sha256Of(frame: Frame): string {
  frame.sha256 ??= sha256(frame.payload);
  return frame.sha256;
}

export function sha256(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'hex');
}

/** ms on the monotonic clock after which a unit of this frame is not worth computing. */
export function dueAt(frame: Frame, pipeline: PipelinePlan): number {
  return frame.receivedAt + Math.min(frame.plan.frameAgeMsMax, pipeline.deadlineMs ?? Number.POSITIVE_INFINITY);
}

/**
 * A payload is a view that keeps its whole network chunk (64 KiB) alive. A frame that waits gets bytes of its own where
 * that is more than twice what it needs.
 */
export function detach(frame: Frame): void {
  if (frame.payload.buffer.byteLength > 2 * frame.payload.byteLength) frame.payload = new Uint8Array(frame.payload);
}

const NOTHING = new Uint8Array(0);

/**
 * Nothing of the frame will be looked at again. Its memory serves the next one: V8 answers every so many megabytes of what is
 * allocated outside its heap with a full collection. Where a frame has several units, that is left to the collector.
 * @param picture what was decoded of it
 */
export function spent(frame: Frame, picture?: { release(): void }): void {
  if (frame.kept === true || frame.waiting > 0 || frame.plan.pipelines.length > 1) return;
  giveBack(frame.payload);
  frame.payload = NOTHING;
  picture?.release();
}
