// A gateway that keeps a shadow version saturated. In a process of its own, so that the one that is measured shares nothing with it
// but the service.
import { dialInference } from '@brink/test/inference';
import { startClients } from './clients.ts';
import type { ShadowReply, ShadowSetup } from './shadow.ts';
import { pictureUnits } from './site.ts';

process.once('message', async ({ socket, model, clients }: ShadowSetup) => {
  const gateway = await dialInference(socket, 'gateway-shadow');
  const units = await pictureUnits();
  const options = { model, clients, unitsPerDecide: 8, units, priority: 0, shadow: true };
  let load: ReturnType<typeof startClients> | undefined;
  process.on('message', async (on: boolean) => {
    const ended = load;
    load = on ? startClients(gateway, options) : undefined;
    await ended?.stop();
    const batches = ended?.results.map(({ batch, inferMs }) => ({ batch, inferMs })) ?? [];
    process.send?.({ units: ended?.done ?? 0, batches } satisfies ShadowReply);
  });
  process.send?.({ units: 0, batches: [] } satisfies ShadowReply);
});
process.once('disconnect', () => process.exit());
