import { BrinkError } from '@brink/protocol';
import { type Clock, type Logger, type Part, wait } from '@brink/runtime';
import type { Device } from './device.ts';

export interface CameraConfig {
  device: Device;
  /** Each picture goes out on every one of them. */
  streams: readonly string[];
  /** JPEG, PNG or WebP files, sent in turn, round and round. */
  pictures: readonly Uint8Array[];
  everyMs: number;
  /** How often each picture is sent before the next: things stay in front of a camera for a while. Default 1. */
  times?: number;
}

/** A simulated camera. A frame that cannot be sent is left out, as a camera does: the next one is newer anyway. */
export function createCamera(config: CameraConfig, d: { clock: Clock; logger: Logger }): Part {
  const { device, streams, pictures, everyMs, times = 1 } = config;
  let stopping: AbortController | undefined;
  let running: Promise<void> | undefined;
  let trouble: string | undefined;

  async function send(turn: number): Promise<void> {
    const picture = pictures[Math.floor(turn / times) % pictures.length];
    if (picture === undefined) return;
    try {
      for (const stream of streams) await device.publish(stream, picture);
      trouble = undefined;
    } catch (reason) {
      const { code, detail } = BrinkError.from(reason);
      if (trouble !== code) d.logger.warn({ device: device.name, code, detail }, 'frames are left out');
      trouble = code;
    }
  }

  async function run(signal: AbortSignal): Promise<void> {
    const startMs = d.clock.monotonic();
    for (let turn = 0; !signal.aborted; turn++) {
      await send(turn);
      // By the clock, not by pauses: sending takes time too.
      const dueMs = startMs + (turn + 1) * everyMs;
      await wait(Math.max(0, dueMs - d.clock.monotonic()), d.clock, signal).catch(() => {});
    }
  }

  return {
    async start() {
      stopping = new AbortController();
      running = run(stopping.signal);
    },
    async stop() {
      stopping?.abort();
      await running;
    },
  };
}
