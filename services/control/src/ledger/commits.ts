import { BrinkError, type Decision } from '@brink/protocol';
import type { CommitReply, Operation } from './messages.ts';
import type { CommitResult, CommittedDecision, LedgerItem } from './records.ts';
import { decisionOf } from './rows.ts';

/** Dates beyond cannot be written down (ECMA-262, time values). */
const TIME_MS_MAX = 8.64e15;

/** @throws BrinkError E_BAD_REQUEST where a time is none */
export function commitOperation(items: readonly LedgerItem[]): { operation: Operation; full: boolean } {
  for (const item of items) {
    const { received_ms } = item.kind === 'outcome' ? item.outcome : item.letter;
    if (!(Math.abs(received_ms) <= TIME_MS_MAX)) {
      throw new BrinkError('E_BAD_REQUEST', `received_ms ${received_ms}; expected milliseconds since 1970`);
    }
  }
  const texts = items.map((item) => item.json);
  const dead = items.map((item) => item.kind === 'dead');
  const full = items.some((item) => item.kind === 'outcome' && item.outcome.durable);
  return { operation: { op: 'commit', texts, dead }, full };
}

/** What COMMIT made of the items: their decisions, made again here of what the sender holds, instead of parsed. */
export function committedOf(
  items: readonly LedgerItem[],
  { ns, texts, kept, duplicates, revision }: CommitReply,
): { result: CommitResult; decisions: CommittedDecision[]; unkept: Decision[] } {
  const decisions: CommittedDecision[] = [];
  const unkept: Decision[] = [];
  for (const [index, item] of items.entries()) {
    const n = ns[index] ?? 0;
    if (n === 0 || item.kind === 'dead') continue;
    const decision = decisionOf(item.outcome, n, revision);
    if (kept[index] === false) unkept.push(decision);
    decisions.push({
      decision,
      json: texts[index] ?? '',
      traceparent: item.outcome.evidence.traceparent,
    });
  }
  return { result: { inserted: items.length - duplicates, duplicates }, decisions, unkept };
}
