import { BrinkError } from '@brink/protocol';
import type { Clock, LinkPeer, LinkReply, RequestBody, Timer } from '@brink/runtime';

/** How an operation ended, and for one that failed what that means: see `RunEnd`. */
export type Answer = { reply: LinkReply } | { error: BrinkError; fate: 'attempt' | 'again' | 'final' };

interface Operation {
  readonly limitMs: number;
  readonly peer: LinkPeer;
  timedOut: boolean;
  fate: 'attempt' | 'again' | undefined;
}

export interface OperationLine {
  ask(peer: LinkPeer, body: RequestBody, payloads: readonly Uint8Array[], limitMs: number): Promise<Answer>;
}

/**
 * What was asked of a runner and is not answered. It works in order, so only the oldest operation is running: its time counts from
 * when it became the oldest, and it alone is to blame when the runner ends.
 * @param d overdue: ends the runner; lost: its link is gone, called before anything it was asked is answered
 */
export function createOperationLine(
  o: { name: string },
  d: { clock: Clock; overdue: () => void; lost: () => void },
): OperationLine {
  const operations: Operation[] = [];
  let timer: Timer | undefined;

  /** The time of the oldest operation begins now. */
  function watch(): void {
    if (timer !== undefined) d.clock.clearTimeout(timer);
    timer = undefined;
    const [oldest] = operations;
    if (oldest === undefined) return;
    timer = d.clock.setTimeout(() => {
      oldest.timedOut = true;
      d.overdue();
    }, oldest.limitMs);
  }

  function leave(operation: Operation): void {
    const at = operations.indexOf(operation);
    operations.splice(at, 1);
    if (at === 0) watch();
  }

  /** The first to hear that the link is gone says what becomes of all. */
  function blame(peer: LinkPeer): void {
    let oldest = true;
    for (const operation of operations) {
      if (operation.peer !== peer || operation.fate !== undefined) continue;
      operation.fate = oldest ? 'attempt' : 'again';
      oldest = false;
    }
    d.lost();
  }

  function endOf(operation: Operation): BrinkError {
    return operation.timedOut
      ? new BrinkError('E_MODEL_TIMEOUT', `${o.name} took longer than ${operation.limitMs} ms and was ended`)
      : new BrinkError('E_MODEL_CRASH', `${o.name} ended unexpectedly`);
  }

  return {
    async ask(peer, body, payloads, limitMs) {
      const operation: Operation = { limitMs, peer, timedOut: false, fate: undefined };
      operations.push(operation);
      if (operations.length === 1) watch();
      try {
        return { reply: await peer.request(body, [...payloads]) };
      } catch (reason) {
        const error = BrinkError.from(reason);
        if (error.code !== 'E_LINK_CLOSED') return { error, fate: 'final' };
        if (operation.fate === undefined) blame(peer);
        return { error: endOf(operation), fate: operation.fate ?? 'again' };
      } finally {
        leave(operation);
      }
    },
  };
}
