import { BrinkError } from '@brink/protocol';
import { type Clock, fullJitter, type LinkPeer, type Logger, type Timer } from '@brink/runtime';

export type DropReason = 'control_down' | 'refused';

interface Entry {
  readonly payload: Uint8Array;
  /** undefined: a dead letter */
  readonly onEnd: ((fate: 'committed' | DropReason) => void) | undefined;
}

export interface OutboxLimits {
  /** Outcomes that may wait for control; beyond, the oldest is dropped and counted. */
  readonly rowsMax: number;
  readonly bytesMax: number;
  /** Dead letters have a place of their own, so that a flood of bad frames evicts no decision. */
  readonly lettersMax: number;
  readonly batchRowsMax: number;
  readonly batchBytesMax: number;
  readonly batchesInFlightMax: number;
  readonly timeoutMs: number;
}

const BACKOFF = { baseMs: 100, capMs: 5000 };

/**
 * Outcomes and dead letters on their way to control. A batch is sent again until control says that it is committed, so
 * each arrives at least once; control keeps one.
 */
export function createOutbox(
  config: OutboxLimits,
  d: {
    request: LinkPeer['request'];
    clock: Clock;
    random: () => number;
    logger: Logger;
    onLetterDropped(): void;
  },
) {
  let outcomes: Entry[] = [];
  let letters: Entry[] = [];
  let bytes = 0;
  /** Rows that are with control now. They count towards the limits. */
  let sentRows = 0;
  let batches = 0;
  let up = false;
  let stopped = false;
  let scheduled = false;
  let waits = fullJitter(BACKOFF, d.random);
  let pause: Timer | undefined;
  const idle = new Set<() => void>();

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      flush();
    });
  }

  function flush(): void {
    while (up && pause === undefined && batches < config.batchesInFlightMax && outcomes.length + letters.length > 0) {
      void send(nextBatch());
    }
  }

  /** Outcomes first. Together they fit one frame of the link. */
  function nextBatch(): Entry[] {
    const batch: Entry[] = [];
    let size = 0;
    for (const queue of [outcomes, letters]) {
      let count = 0;
      for (const entry of queue) {
        if (
          batch.length >= config.batchRowsMax ||
          (batch.length > 0 && size + entry.payload.byteLength > config.batchBytesMax)
        )
          break;
        batch.push(entry);
        size += entry.payload.byteLength;
        count += 1;
      }
      queue.splice(0, count);
    }
    return batch;
  }

  async function send(batch: Entry[]): Promise<void> {
    batches += 1;
    sentRows += batch.length;
    try {
      const payloads = batch.map((entry) => entry.payload);
      const { body } = await d.request({ case: 'outcomes', value: {} }, payloads, { timeoutMs: config.timeoutMs });
      const refused = new Map(
        body.case === 'committed' ? body.value.refused.map((row) => [row.index, row.failure]) : [],
      );
      for (const [i, entry] of batch.entries()) end(entry, refused.has(i) ? 'refused' : 'committed');
      if (refused.size > 0)
        d.logger.error({ rows: refused.size, first: [...refused.values()][0] }, 'control refused outcomes');
      waits = fullJitter(BACKOFF, d.random);
    } catch (reason) {
      notTaken(batch, BrinkError.from(reason));
    } finally {
      batches -= 1;
      sentRows -= batch.length;
      if (outcomes.length + letters.length > 0) flush();
      else if (batches === 0) for (const resolve of idle) resolve();
    }
  }

  function notTaken(batch: Entry[], error: BrinkError): void {
    if (stopped) {
      for (const entry of batch) end(entry, 'control_down');
      return;
    }
    if (!error.retryable) {
      d.logger.error(
        { rows: batch.length, code: error.code, detail: error.detail },
        'control refused a batch of outcomes',
      );
      for (const entry of batch) end(entry, 'refused');
      return;
    }
    // In front again, in their order: the oldest must stay the oldest.
    outcomes = [...batch.filter((entry) => entry.onEnd !== undefined), ...outcomes];
    letters = [...batch.filter((entry) => entry.onEnd === undefined), ...letters];
    if (error.code === 'E_LINK_CLOSED') return;
    pause ??= d.clock.setTimeout(() => {
      pause = undefined;
      flush();
    }, waits.next().value);
  }

  function end(entry: Entry, fate: 'committed' | DropReason): void {
    if (entry.onEnd === undefined) {
      if (fate !== 'committed') d.onLetterDropped();
      return;
    }
    bytes -= entry.payload.byteLength;
    entry.onEnd(fate);
  }

  function dropOldest(): void {
    const entry = outcomes.shift();
    if (entry !== undefined) end(entry, 'control_down');
  }

  return {
    /** @param onEnd is called once: when control has committed it, or it was dropped */
    add(json: string, onEnd: (fate: 'committed' | DropReason) => void): void {
      const payload = Buffer.from(json);
      outcomes.push({ payload, onEnd });
      bytes += payload.byteLength;
      while (outcomes.length > 0 && (outcomes.length + sentRows > config.rowsMax || bytes > config.bytesMax))
        dropOldest();
      schedule();
    },
    addLetter(json: string): void {
      letters.push({ payload: Buffer.from(json), onEnd: undefined });
      if (letters.length > config.lettersMax) {
        letters.shift();
        d.onLetterDropped();
      }
      schedule();
    },
    linkUp(): void {
      up = true;
      flush();
    },
    linkDown(): void {
      up = false;
    },
    /** Resolves when control has everything, or at the signal. */
    async drained(signal: AbortSignal): Promise<void> {
      if (outcomes.length + letters.length + batches === 0 || signal.aborted) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      idle.add(resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
      flush();
      await promise;
      idle.delete(resolve);
    },
    /** The end: what control has not taken is dropped and counted. */
    stop(): void {
      up = false;
      stopped = true;
      if (pause !== undefined) d.clock.clearTimeout(pause);
      while (outcomes.length > 0) dropOldest();
    },
    get rows() {
      return outcomes.length + sentRows;
    },
    get bytes() {
      return bytes;
    },
    get letters() {
      return letters.length;
    },
  };
}

export type Outbox = ReturnType<typeof createOutbox>;
