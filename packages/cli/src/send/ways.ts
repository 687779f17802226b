import type { Device, FrameName } from '@brink/device';
import { BrinkError } from '@brink/protocol';
import { systemClock, wait } from '@brink/runtime';
import type { Outgoing } from './frame.ts';

/** Sends one frame. @returns its name; undefined where it was left out */
export type Way = (frame: Outgoing) => Promise<FrameName | undefined>;

export interface WayConfig {
  readonly device: Device;
  readonly stream: string;
  /** Whether positions are said. */
  readonly at: boolean;
  readonly signal: AbortSignal;
  /** For a lost connection to come back. */
  readonly waitMs: number;
  readonly note: (text: string) => void;
}

/** The broker ended the connection that often while it had one frame: it does not want it. */
const TRIES_MAX = 4;
const LOOK_MS = 20;
/** Without any receipt; a frame is sent again after 1.5 to 3 s. */
const RECEIPT_MS_MAX = 15_000;

/** A picture that cannot be sent is left out: the next one is newer anyway. Told once, and once when it is over. */
export function leavingOut({ device, stream, note }: WayConfig): Way {
  let trouble = false;
  return async (frame) => {
    try {
      const name = await device.publish(stream, frame.bytes, { qos: 1, ...typeOf(frame) });
      if (trouble) note('frames go out again');
      trouble = false;
      return name;
    } catch (reason) {
      const { code, detail } = BrinkError.from(reason);
      if (!trouble) note(`${code}: ${detail}; frames are left out`);
      trouble = true;
      return undefined;
    }
  };
}

/** Each in its order; again under its name after the connection was lost. @throws BrinkError E_BROKER */
export function eachInTurn(o: WayConfig): Way {
  const { device, stream, at, signal, waitMs } = o;

  /** @returns why it did not go out, where it is worth another try */
  async function failure(frame: Outgoing, as: FrameName): Promise<BrinkError | undefined> {
    try {
      await device.publish(stream, frame.bytes, { qos: 1, as, ...typeOf(frame), ...positionOf(frame, at) });
      return undefined;
    } catch (reason) {
      const error = BrinkError.from(reason);
      if (!signal.aborted && !(await isConnected(device, waitMs, signal))) throw error;
      return error;
    }
  }

  return async (frame) => {
    const name = device.nextFrame(stream);
    for (let tries = 1; !signal.aborted; tries++) {
      const error = await failure(frame, name);
      if (error === undefined) return name;
      if (tries >= TRIES_MAX) throw unwanted(error, frame);
    }
    return undefined;
  };
}

/** On the disk, until there is a receipt. Where it is full, receipts make room. @throws BrinkError E_STORAGE_FULL */
export function kept({ device, stream, at, signal }: WayConfig): Way {
  return async (frame) => {
    while (!signal.aborted) {
      try {
        return await device.keep(stream, frame.bytes, { ...typeOf(frame), ...positionOf(frame, at) });
      } catch (reason) {
        const error = BrinkError.from(reason);
        if (error.code !== 'E_STORAGE_FULL' || !(await fewerWait(device, signal))) throw error;
      }
    }
    return undefined;
  };
}

/** Until every kept frame has a receipt, or none has come for a while, or the signal aborts: it is known that none will. */
export async function allReceipts(device: Device, signal: AbortSignal): Promise<void> {
  while (device.waiting > 0 && !signal.aborted && (await fewerWait(device, signal)));
}

/** @returns false where no receipt came in time */
async function fewerWait(device: Device, signal: AbortSignal): Promise<boolean> {
  const before = device.waiting;
  return holds(() => device.waiting < before || device.waiting === 0, RECEIPT_MS_MAX, signal);
}

const isConnected = (device: Device, ms: number, signal: AbortSignal) => holds(() => device.connected, ms, signal);

async function holds(condition: () => boolean, ms: number, signal: AbortSignal): Promise<boolean> {
  for (const endMs = performance.now() + ms; performance.now() < endMs && !signal.aborted; ) {
    if (condition()) return true;
    await wait(LOOK_MS, systemClock, signal).catch(() => {});
  }
  return condition();
}

const positionOf = ({ at }: Outgoing, wanted: boolean) => (wanted && at !== undefined ? { at } : {});
const typeOf = ({ contentType }: Outgoing) => (contentType === undefined ? {} : { contentType });

function unwanted(error: BrinkError, { from, bytes }: Outgoing): BrinkError {
  const why = `is it (${bytes.byteLength} bytes) larger than what the broker takes, may this device publish on this stream?`;
  return new BrinkError(error.code, `${from}: the connection ended ${TRIES_MAX} times under it; ${why}`, {
    cause: error,
  });
}
