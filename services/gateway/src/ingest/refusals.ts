import { sniff } from '@brink/decode';
import { BrinkError, type ErrorCode } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import { type Counts, countFrame } from '../outcomes/counts.ts';
import type { DeadLetters } from '../outcomes/letters.ts';
import type { Arrival, FrameMessage } from './arrival.ts';
import type { DiscoveredStreams } from './discovered.ts';
import type { ForeignTopics } from './foreign.ts';
import { sha256 } from './frame.ts';
import type { Source } from './sources.ts';

export interface RefusalDeps {
  clock: Clock;
  counts: Counts;
  discovered: DiscoveredStreams;
  foreign: Pick<ForeignTopics, 'shown'>;
  letters: DeadLetters;
  onRejected(code: ErrorCode): void;
}

/** What happens to a frame that is not taken: it is counted, and what was wrong with it is on record. */
export function createRefusals(d: RefusalDeps) {
  function record(
    error: BrinkError,
    arrival: Pick<Arrival, 'device' | 'stream' | 'payload' | 'id' | 'foreign'>,
    nowMs: number,
  ): BrinkError {
    d.onRejected(error.code);
    // What another system keeps retained comes all at once when it is subscribed to: its letters share one allowance.
    const sharing = error.code === 'E_RETAINED' && arrival.foreign === true;
    d.letters.add(sharing ? `retained ${arrival.stream}` : arrival.device, nowMs, () => ({
      dead: true,
      device: arrival.device.slice(0, 200),
      stream: arrival.stream.slice(0, 200),
      ...(arrival.id === undefined ? {} : { boot: arrival.id.boot, seq: arrival.id.seq }),
      error: { code: error.code, detail: error.detail.slice(0, 1000) },
      sha256: sha256(arrival.payload),
      bytes: arrival.payload.byteLength,
      type: sniff(arrival.payload),
      received_ms: nowMs,
    }));
    return error;
  }

  return {
    /** Something is wrong with a frame that is counted elsewhere. @returns the error */
    letter: (error: BrinkError, arrival: Arrival): BrinkError => record(error, arrival, d.clock.now()),

    /** Something is wrong with the frame itself. @returns the error */
    frame(source: Source, error: BrinkError, arrival: Arrival): BrinkError {
      const nowMs = d.clock.now();
      countFrame(source.row, 'rejected', nowMs);
      return record(error, arrival, nowMs);
    },

    /** Its topic cannot be read. It still came from somebody: the levels are shown as they are. */
    topic(reason: unknown, message: FrameMessage): void {
      const nowMs = d.clock.now();
      countFrame(d.counts.elsewhere, 'rejected', nowMs);
      const { device, stream } = d.foreign.shown(message.topic) ?? levelsOf(message.topic);
      record(BrinkError.from(reason, 'E_TOPIC'), { device, stream, payload: message.payload, id: undefined }, nowMs);
    },

    /** Its device is not approved, no stream takes it, or there are too many already. @returns the error */
    source(why: 'waiting' | 'unknown' | 'full', arrival: Arrival): BrinkError {
      const nowMs = d.clock.now();
      const { device, stream, topic, payload } = arrival;
      countFrame(d.counts.elsewhere, 'rejected', nowMs);
      if (why === 'waiting') {
        // No receipt says so: what the device keeps, it sends again once it is approved.
        const name = device.slice(0, 80);
        const detail = `device "${name}" waits to be approved: \`brink devices approve ${name}\` (site.join: approve)`;
        return record(new BrinkError('E_DEVICE', detail), arrival, nowMs);
      }
      if (why === 'full') {
        const error = new BrinkError('E_BUSY', `the table of streams is full; ${device}/${stream} is not in it`);
        return record(error, arrival, nowMs);
      }
      // Not a dead letter: what was found, and what to do about it, stands under /v1/discovered.
      d.discovered.see(device, stream, topic, sniff(payload), payload, nowMs);
      d.onRejected('E_STREAM_UNKNOWN');
      return new BrinkError('E_STREAM_UNKNOWN', `no stream "${stream}" takes frames of device "${device}"`);
    },
  };
}

function levelsOf(topic: string): { device: string; stream: string } {
  const [, device = '', , , stream = ''] = topic.split('/', 6);
  return { device, stream };
}

export type Refusals = ReturnType<typeof createRefusals>;
