import type { Configuration, FleetStatus } from '@brink/protocol';

/** Every model that a pipeline or a mask names, and whether the gateways that are online have it to work with. */
export function boundModels(
  { streams }: Pick<Configuration, 'streams'>,
  services: readonly FleetStatus[],
): ReadonlyMap<string, boolean> {
  const names = Object.values(streams).flatMap(({ pipelines, mask }) => [
    ...Object.values(pipelines).map(({ model }) => model),
    ...mask.flatMap((one) => ('faces' in one ? [one.faces.model] : [])),
  ]);
  const gateways = services.filter(({ service, state }) => service === 'gateway' && state === 'online');
  const has =
    (name: string) =>
    ({ models = [] }: FleetStatus) =>
      models.some((model) => model.name === name && model.state === 'ready');
  return new Map(names.map((name) => [name, gateways.length > 0 && gateways.every(has(name))]));
}
