import { type FleetStatus, FleetStatusSchema, type Topics } from '@brink/protocol';

/** What the services say of themselves on `brink/fleet/{service}/{instance}`. */
export function createServices() {
  const latest = new Map<string, FleetStatus>();
  return {
    /**
     * An empty payload takes a service off the list, as MQTT does with retained messages.
     * @throws ZodError or SyntaxError where it is none of ours
     */
    take(topic: ReturnType<Topics['parse']> & { kind: 'fleet' }, payload: Buffer): void {
      const key = `${topic.service}/${topic.instance}`;
      if (payload.length === 0) latest.delete(key);
      else latest.set(key, FleetStatusSchema.parse(JSON.parse(payload.toString('utf8'))));
    },
    list: (): FleetStatus[] =>
      [...latest.values()].sort((a, b) => `${a.service}/${a.instance}`.localeCompare(`${b.service}/${b.instance}`)),
  };
}

export type Services = ReturnType<typeof createServices>;
