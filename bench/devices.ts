import type { MqttClient } from 'mqtt';
import type { Payload } from './site.ts';

/** `latest` streams drop; when no decision came for so long, none will. */
const QUIET_MS = 500;
const LOOK_MS = 20;
/** Decisions say `"id":"dev-3.tensor.k3v9.1042.0.bench-tensor"`: the number that the frame was sent under. */
const SEQ = /"id":"[^."]+\.[^."]+\.[^."]+\.(\d+)\./;
const BOOT = 'k3v9';
/** How often frames of an open loop are sent: those that are due meanwhile go together. */
const TICK_MS = 2;

/** Devices that send their next frame when the last one is decided, or at a rate whatever becomes of them. */
export function createDevices(
  client: MqttClient,
  options: { payload: Payload; devices: number },
  frames: readonly Uint8Array[],
) {
  /** device.seq → when it was sent */
  const sentAt = new Map<string, number>();
  const names = Array.from({ length: options.devices }, (_, i) => `dev-${i}`);
  let ages: number[] = [];
  let running = false;
  let decided = 0;
  let seq = 0;

  function send(device: string): void {
    seq += 1;
    sentAt.set(`${device}.${seq}`, performance.now());
    const topic = `brink/${device}/up/frames/${options.payload}/${BOOT}-${seq}`;
    client.publish(topic, frames[seq % frames.length] as Buffer);
  }

  return {
    /** Frames that were sent, and that were decided. */
    get sent() {
      return seq;
    },
    get count() {
      return decided;
    },
    heard(topic: string, payload: Buffer): void {
      // The id is the first thing in a decision but its version.
      const [, number = ''] = SEQ.exec(payload.toString('latin1', 0, 200)) ?? [];
      const device = topic.split('/')[1] as string;
      const key = `${device}.${number}`;
      const at = sentAt.get(key);
      if (at === undefined) return;
      sentAt.delete(key);
      decided += 1;
      ages.push(performance.now() - at);
      if (running) send(device);
    },
    start(): void {
      running = true;
      for (const device of names) send(device);
    },
    /** Frames at `perSecond`, whatever becomes of them; devices take turns. Resolves after `ms`. */
    async sendAt(perSecond: number, ms: number): Promise<void> {
      const [start, first] = [performance.now(), seq];
      for (let now = start; now - start < ms; now = performance.now()) {
        const due = first + ((now - start) * perSecond) / 1000;
        while (seq < due) send(names[seq % names.length] as string);
        await new Promise((resolve) => setTimeout(resolve, TICK_MS));
      }
    },
    /** Waits until nothing is in flight, so that the baseline has the machine to itself. What was dropped is forgotten. */
    async drain(): Promise<void> {
      running = false;
      let [seen, quiet] = [decided, 0];
      while (sentAt.size > 0 && quiet < QUIET_MS) {
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
        quiet = decided === seen ? quiet + LOOK_MS : 0;
        seen = decided;
      }
      sentAt.clear();
    },
    /** ms from sending a frame to its decision, of those that came since the last time. */
    takeAges(): number[] {
      const taken = ages;
      ages = [];
      return taken;
    },
  };
}

export type Devices = ReturnType<typeof createDevices>;

/** @param part 0..1 @returns the value that so many are not above; 0 of none */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}
