import { BrinkError } from '@brink/protocol';
import type { ChildExit, Clock, LinkPeer, LinkReply, RequestBody, Timer } from '@brink/runtime';

/** How an operation ended, and for one that failed what that means: see `RunEnd`. */
export type Answer = { reply: LinkReply } | { error: BrinkError; fate: 'attempt' | 'again' | 'final' };

interface Operation {
  readonly limitMs: number;
  readonly peer: LinkPeer;
  timedOut: boolean;
  fate: 'attempt' | 'again' | undefined;
}

/** What the parent knows of a runner whose link is gone. */
export interface Loss {
  /** It was ended for a reason of ours: nothing that it was asked is to blame. */
  readonly blameless: boolean;
  /** How it ended; known a moment after its link has gone. */
  readonly exit: Promise<Pick<ChildExit, 'reason' | 'signal'>>;
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
  o: { name: string; memoryBytesMax: number },
  d: { clock: Clock; overdue: () => void; lost: () => Loss },
): OperationLine {
  const operations: Operation[] = [];
  let timer: Timer | undefined;
  let exit: Loss['exit'] | undefined;

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
    const loss = d.lost();
    exit = loss.exit;
    let oldest = !loss.blameless;
    for (const operation of operations) {
      if (operation.peer !== peer || operation.fate !== undefined) continue;
      operation.fate = oldest ? 'attempt' : 'again';
      oldest = false;
    }
  }

  async function endOf(operation: Operation): Promise<BrinkError> {
    if (operation.timedOut)
      return new BrinkError('E_MODEL_TIMEOUT', `${o.name} took longer than ${operation.limitMs} ms and was ended`);
    const end = await exit;
    // SIGKILL that nobody here sent may be the kernel short of memory, or anybody's kill -9.
    if (end?.reason === 'memory' || (end?.reason === 'oom' && end.signal !== 'SIGKILL')) {
      const megabytes = Math.round(o.memoryBytesMax / 2 ** 20);
      return new BrinkError(
        'E_MODEL_OOM',
        `${o.name} needed more than the ${megabytes} MiB that it may take, and ended`,
      );
    }
    const how = end === undefined ? '' : ` (${end.reason}${end.signal === null ? '' : `, ${end.signal}`})`;
    return new BrinkError('E_MODEL_CRASH', `${o.name} ended unexpectedly${how}`);
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
        return { error: await endOf(operation), fate: operation.fate ?? 'again' };
      } finally {
        leave(operation);
      }
    },
  };
}
