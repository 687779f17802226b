import { z } from 'zod';
import { BrinkError } from './errors.ts';

const NAME = /^[a-z0-9][a-z0-9-]{0,63}$/;
const BOOT = /^[0-9a-z]{4,16}$/;

/** Device, stream, pipeline, rule, model, target. No dot and no tilde, so that ids can be taken apart again. */
export const NameSchema = z
  .string()
  .regex(NAME, 'a name of 1 to 64 of a-z, 0-9 and "-", beginning with a letter or digit')
  .meta({ id: 'Name', examples: ['cam-1'] });
/** One start of a device: random, so that its numbers may begin again at 1. */
export const BootSchema = z.string().regex(BOOT, 'a boot is 4 to 16 of 0-9 and a-z').meta({ id: 'Boot' });
export const SeqSchema = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER).meta({ id: 'Seq' });

export function isName(text: string): boolean {
  return NAME.test(text);
}

/** What stands under a name. "constructor" is a name like others, and every object of JavaScript has something under it. */
export const underName = <T>(all: Readonly<Record<string, T>> | undefined, name: string): T | undefined =>
  all !== undefined && Object.hasOwn(all, name) ? all[name] : undefined;

export function isBoot(text: string): boolean {
  return BOOT.test(text);
}

/** Which frame: unique per (device, stream, boot). */
export interface FrameId {
  readonly device: string;
  readonly stream: string;
  readonly boot: string;
  readonly seq: number;
}

/** Which unit of a frame, for which pipeline. `part` counts the units that one frame completes, from 0. */
export interface UnitId extends FrameId {
  readonly part: number;
  readonly pipeline: string;
}

/** `cam-1.front.k3v9.1042.0.people`: the decision's id too. */
export function formatUnitId(unit: UnitId): string {
  return `${unit.device}.${unit.stream}.${unit.boot}.${unit.seq}.${unit.part}.${unit.pipeline}`;
}

/** A seq beyond 2^53 - 1 has this form too; it is nobody's. */
export const UnitIdSchema = z
  .string()
  .max(400)
  .regex(
    /^[a-z0-9][a-z0-9-]{0,63}\.[a-z0-9][a-z0-9-]{0,63}\.[0-9a-z]{4,16}\.[1-9]\d{0,15}\.(0|[1-9]\d{0,8})\.[a-z0-9][a-z0-9-]{0,63}$/,
    'expected device.stream.boot.seq.part.pipeline',
  )
  .meta({ examples: ['cam-1.front.k3v9.1042.0.pets'] });

export function parseUnitId(text: string): UnitId {
  const [device, stream, boot, seq, part, pipeline, ...rest] = text.split('.');
  const valid =
    rest.length === 0 &&
    [device, stream, pipeline].every((name) => name !== undefined && isName(name)) &&
    boot !== undefined &&
    isBoot(boot) &&
    parseSeq(seq) !== undefined &&
    /^(0|[1-9][0-9]{0,8})$/.test(part ?? '');
  if (!valid) {
    throw new BrinkError(
      'E_BAD_REQUEST',
      `"${text.slice(0, 200)}" is no decision id; expected device.stream.boot.seq.part.pipeline`,
    );
  }
  return {
    device: device as string,
    stream: stream as string,
    boot: boot as string,
    seq: Number(seq),
    part: Number(part),
    pipeline: pipeline as string,
  };
}

/** @returns the number, or undefined where the text is not 1 … 2^53-1 in plain digits */
export function parseSeq(text: string | undefined): number | undefined {
  if (text === undefined || !/^[1-9][0-9]{0,15}$/.test(text)) return undefined;
  const seq = Number(text);
  return Number.isSafeInteger(seq) ? seq : undefined;
}

/** Action id and idempotency key in one: a second run of the same rule on the same decision makes the same key. */
export function formatActionId(trigger: ActionTrigger, rule: string, index: number): string {
  const timer = trigger.timer === undefined ? '' : `${trigger.timer.key}~${trigger.timer.dueMs}~`;
  return `${trigger.decision}~${rule}~${timer}${index}`;
}

export interface ActionTrigger {
  /** The decision that fired the rule, or the last one that counted before a timer fired. */
  readonly decision: string;
  /** Set where a timer fired it: the state machine's key and when it was due. */
  readonly timer?: { readonly key: string; readonly dueMs: number };
}
