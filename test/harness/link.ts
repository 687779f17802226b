import { createLinkClient, silentLogger, systemClock } from '@brink/runtime';

const UP_MS_MAX = 10_000;

/** The gateway's end of the link. */
export async function dial(socket: string) {
  const client = createLinkClient(
    { service: 'gateway', instance: 'gateway-1', connect: { path: socket }, window: 8, frameBytesMax: 1 << 24 },
    { handlers: {}, logger: silentLogger, clock: systemClock, random: Math.random },
  );
  await client.start(new AbortController().signal);
  const late = performance.now() + UP_MS_MAX;
  while (client.problem !== undefined) {
    if (performance.now() > late) throw new Error(client.problem);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    /** Resolves when they are committed. */
    async commit(payloads: readonly Uint8Array[]): Promise<void> {
      await client.request({ case: 'outcomes', value: {} }, [...payloads]);
    },
    [Symbol.asyncDispose]: () => client.stop(),
  };
}
export type Dialled = Awaited<ReturnType<typeof dial>>;
