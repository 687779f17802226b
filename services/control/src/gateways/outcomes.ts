import {
  BrinkError,
  type DeadLetter,
  DeadLetterSchema,
  EVIDENCE_BYTES_MAX,
  type Outcome,
  OutcomeSchema,
} from '@brink/protocol';
import type { z } from 'zod';
import type { LedgerItem } from '../ledger/records.ts';
import { createAcceptance } from './acceptance.ts';

/** An outcome with its evidence and at most a thousand objects stays well below. */
const PAYLOAD_BYTES_MAX = 512 * 1024;

const isOutcome = createAcceptance(OutcomeSchema);

export interface RefusedOutcome {
  readonly index: number;
  readonly error: BrinkError;
}

/** The payloads of one `Outcomes` request. What is not as the schema says is refused by itself; the others go on. */
export function readOutcomes(payloads: readonly Uint8Array[]): { items: LedgerItem[]; refused: RefusedOutcome[] } {
  const items: LedgerItem[] = [];
  const refused: RefusedOutcome[] = [];
  for (const [index, payload] of payloads.entries()) {
    try {
      items.push(readOutcome(payload));
    } catch (reason) {
      refused.push({ index, error: BrinkError.from(reason, 'E_BAD_REQUEST') });
    }
  }
  return { items, refused };
}

function readOutcome(payload: Uint8Array): LedgerItem {
  if (payload.byteLength > PAYLOAD_BYTES_MAX) {
    throw new BrinkError(
      'E_TOO_LARGE',
      `an outcome of ${payload.byteLength} bytes; expected at most ${PAYLOAD_BYTES_MAX}`,
    );
  }
  const json = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('utf8');
  const value = parse(json);
  // Not the union of both: its errors would be those of two schemas.
  if (typeof value === 'object' && value !== null && 'dead' in value) {
    return { kind: 'dead', letter: check<DeadLetter>(DeadLetterSchema, value), json };
  }
  const outcome = isOutcome(value) ? (value as Outcome) : check<Outcome>(OutcomeSchema, value);
  // Nearly every outcome is smaller as a whole than its evidence may be.
  const evidenceBytes =
    payload.byteLength <= EVIDENCE_BYTES_MAX ? 0 : Buffer.byteLength(JSON.stringify(outcome.evidence));
  if (evidenceBytes > EVIDENCE_BYTES_MAX) {
    throw new BrinkError('E_TOO_LARGE', `evidence of ${evidenceBytes} bytes; expected at most ${EVIDENCE_BYTES_MAX}`);
  }
  return { kind: 'outcome', outcome, json };
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new BrinkError('E_BAD_REQUEST', 'an outcome that is no JSON', { cause });
  }
}

function check<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [first] = parsed.error.issues;
  throw new BrinkError(
    'E_BAD_REQUEST',
    `an outcome whose ${first?.path.join('.') || 'shape'} is wrong: ${first?.message}`,
  );
}
