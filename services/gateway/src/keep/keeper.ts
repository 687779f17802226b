import type { Clock } from '@brink/runtime';
import type { DecodePool } from '../decode/pool.ts';
import { detach, type Frame, sha256 } from '../ingest/frame.ts';
import type { Masking } from '../mask/masking.ts';
import { samplesOf } from '../window/samples.ts';
import { type KeptFrame, Ring, type RingEnd } from './ring.ts';
import { stripJpeg } from './strip.ts';

/** Of pictures that have to be compressed again. */
const QUALITY = 90;
/** Behind everything that somebody waits for. */
const IDLE_PRIORITY = 0;

/** Why a frame is not in the ring: a newer one came before it could be masked, it could not be masked, it is too large or too old. */
type SkipReason = 'busy' | 'failed' | 'limit';

export interface KeeperDeps {
  clock: Clock;
  pool: Pick<DecodePool, 'decode' | 'inFlight' | 'hasRoom'>;
  masking: Masking;
  keepMs(stream: string): number;
  /** Whether its stream is still masked as it was when the frame came. */
  isMaskedAsNow(frame: Frame): boolean;
  /** Samples per second of raw sound whose stream does not say it. */
  rateHz(frame: Frame): number | undefined;
  onGone(why: RingEnd): void;
  onSkipped(why: SkipReason): void;
  /** A frame is in the ring. */
  onKept(frame: KeptFrame): void;
}

/**
 * How frames get into the ring: as they may be shown, never as they came. A JPEG that needs no mask loses its metadata and nothing
 * else; every other picture is compressed anew where it is decoded for a model anyway, and else when the decode children have nothing
 * to do: the newest of each device and stream.
 */
export function createKeeper(config: { sourceBytesMax: number; bytesMax: number }, d: KeeperDeps) {
  const ring = new Ring(config, d);
  const pending = new Map<string, Frame>();
  let decoding = false;
  function add(frame: Frame, type: string, bytes: Uint8Array, rateHz?: number): void {
    const { device, stream, boot, seq } = frame.id;
    const kept: KeptFrame = { device, stream, boot, seq, receivedMs: frame.receivedMs, type, bytes, rateHz };
    // A decode that was under way when the masks changed.
    if (!d.isMaskedAsNow(frame)) d.onSkipped('failed');
    else if (d.keepMs(stream) > 0 && ring.add(kept)) {
      // Sound is joined when it is written: its file is not of one frame.
      if (rateHz === undefined) frame.keptSha256 = sha256(bytes);
      d.onKept(kept);
    } else d.onSkipped('limit');
  }

  function wait(frame: Frame): void {
    const key = keyOf(frame);
    if (pending.has(key)) d.onSkipped('busy');
    pending.delete(key);
    pending.set(key, frame);
    // Its memory must not serve another frame once its units have ended.
    frame.kept = true;
    detach(frame);
  }

  /** Whatever is not a picture is there at once. */
  function keep(frame: Frame): void {
    const { plan, payload, type } = frame;
    if (plan.format === 'audio') {
      const sound = soundOf(frame, d.rateHz(frame));
      if (sound === undefined) d.onSkipped('failed');
      else add(frame, 'audio/wav', sound.bytes, sound.rateHz);
    } else {
      const message = d.masking.messageOf(frame);
      add(frame, type, message === payload ? new Uint8Array(payload) : message);
    }
  }

  async function decodeOne(frame: Frame): Promise<void> {
    try {
      const treatment = await d.masking.of(frame, false, QUALITY, IDLE_PRIORITY);
      if (treatment === undefined) return;
      const { masked: _, ...how } = treatment;
      const { kept } = await d.pool.decode(frame.payload, [], false, how);
      if (kept !== undefined) add(frame, 'image/jpeg', kept);
    } catch {
      // What is wrong with it, its units say.
      d.onSkipped('failed');
    } finally {
      decoding = false;
      idle();
    }
  }

  /** Nothing else has to be decoded: the picture that has waited longest. */
  function idle(): void {
    const [next] = pending;
    if (decoding || next === undefined || d.pool.inFlight > 0 || !d.pool.hasRoom) return;
    const [key, frame] = next;
    pending.delete(key);
    decoding = true;
    void decodeOne(frame);
  }

  return {
    ring,

    /** A frame was accepted; before it is decoded for anybody. Never throws. */
    offered(frame: Frame): void {
      const { format, mask, keepMs } = frame.plan;
      if (keepMs === 0 || d.clock.now() - frame.receivedMs > keepMs) return;
      if (format === 'image') {
        const stripped = mask === undefined && frame.type === 'image/jpeg' ? stripJpeg(frame.payload) : undefined;
        if (stripped === undefined) wait(frame);
        else add(frame, 'image/jpeg', stripped);
        return;
      }
      try {
        keep(frame);
      } catch {
        // Fields that cannot be masked.
        d.onSkipped('failed');
      }
    },

    idle,

    /** How well a picture that is about to be decoded is to be kept; undefined where it is not, or is already. */
    qualityFor(frame: Frame): number | undefined {
      const key = keyOf(frame);
      if (pending.get(key) !== frame) return undefined;
      pending.delete(key);
      return QUALITY;
    },

    /** The picture itself, as `qualityFor` had wanted it. */
    decoded(frame: Frame, kept: Uint8Array | undefined): void {
      if (kept !== undefined) add(frame, 'image/jpeg', kept);
    },

    ...createForgetting(ring, pending),

    stop(): void {
      pending.clear();
      ring.stop();
    },
  };
}

function createForgetting(ring: Ring, pending: Map<string, Frame>) {
  function drop(unwanted: (frame: Frame) => boolean): void {
    for (const [key, frame] of pending) if (unwanted(frame)) pending.delete(key);
  }

  return {
    /** These streams are masked otherwise from now on, or are no more. To be called when the new configuration is in force. */
    forget(streams: Iterable<string>): void {
      for (const stream of streams) {
        ring.forget(stream);
        drop(({ id }) => id.stream === stream);
      }
    },

    /** Its frames of the last seconds. */
    forgetDevice(device: string): void {
      ring.forgetDevice(device);
      drop(({ id }) => id.device === device);
    },
  };
}

const keyOf = ({ id }: Frame) => `${id.device}/${id.stream}`;

/** @param usualHz where neither the frame nor its stream says it */
function soundOf({ samples, plan, payload, type }: Frame, usualHz: number | undefined) {
  const said = samples ?? samplesOf(plan, payload, type);
  if (said === undefined || !('channels' in said)) return undefined;
  const rateHz = said.rateHz ?? usualHz;
  return rateHz === undefined ? undefined : { rateHz, bytes: bits16(said.channels[0] ?? new Float32Array()) };
}

/** −1..1 → 16 bits, little-endian. */
function bits16(samples: Float32Array): Uint8Array {
  const bits = new Int16Array(samples.length);
  for (const [i, sample] of samples.entries()) bits[i] = Math.round(Math.max(-1, Math.min(1, sample)) * 32_767);
  return new Uint8Array(bits.buffer);
}

export type Keeper = ReturnType<typeof createKeeper>;
