import type { Duplex } from 'node:stream';
import { BrinkError } from '@brink/protocol/link';
import type { Clock, Timer } from '../clock.ts';
import { encodeFrame, type Kind } from './frame.ts';

const NO_PAYLOADS: readonly Uint8Array[] = [];

export interface Outgoing {
  /** @param total what `frameBytes` said */
  send(kind: Kind, request: number, header: Uint8Array, payloads: readonly Uint8Array[], total: number): void;
  sendHeader(kind: Kind, request: number, header: Uint8Array): void;
  /** Bytes that the peer's kernel has not taken yet. */
  readonly bytes: number;
  stop(): void;
}

/**
 * The writing half. Frames of one turn of the event loop leave in one writev: the socket is corked until the turn's microtasks
 * are done, so that answers to a full window cost one system call.
 * @param onStall the peer has taken nothing for `stallMs` though bytes wait for it
 */
export function createOutgoing(
  duplex: Duplex,
  o: { stallMs: number },
  d: { clock: Clock; stats: { bytesOut: number; framesOut: number }; onStall(error: BrinkError): void },
): Outgoing {
  let corked = false;
  let watch: Timer | undefined;
  let taken = 0;
  let stopped = false;

  function uncork(): void {
    corked = false;
    duplex.uncork();
  }

  /** One timer while bytes wait, none per frame. */
  function check(): void {
    watch = undefined;
    if (stopped || duplex.writableLength === 0) return;
    const now = d.stats.bytesOut - duplex.writableLength;
    if (now === taken) {
      d.onStall(
        new BrinkError('E_LINK_CLOSED', `the peer took none of ${duplex.writableLength} bytes for ${o.stallMs} ms`),
      );
      return;
    }
    taken = now;
    watch = d.clock.setTimeout(check, o.stallMs);
  }

  function send(kind: Kind, request: number, header: Uint8Array, payloads: readonly Uint8Array[], total: number): void {
    if (!corked) {
      corked = true;
      duplex.cork();
      process.nextTick(uncork);
    }
    const chunks = encodeFrame(kind, request, header, payloads, total);
    for (let i = 0; i < chunks.length; i++) duplex.write(chunks[i]);
    d.stats.bytesOut += total;
    d.stats.framesOut += 1;
    if (watch === undefined) {
      taken = d.stats.bytesOut - duplex.writableLength;
      watch = d.clock.setTimeout(check, o.stallMs);
    }
  }

  return {
    send,
    sendHeader: (kind, request, header) => send(kind, request, header, NO_PAYLOADS, 16 + header.byteLength),
    get bytes() {
      return duplex.writableLength;
    },
    stop() {
      stopped = true;
      if (watch !== undefined) d.clock.clearTimeout(watch);
      if (corked) duplex.uncork();
    },
  };
}
