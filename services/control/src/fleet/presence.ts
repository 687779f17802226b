import type { FleetStatus, PublishedConfiguration, Topics } from '@brink/protocol';
import type { Clock, Logger, Mqtt, Part, Timer } from '@brink/runtime';

const REFRESH_MS = 1000;

/**
 * What control keeps retained on the broker: the active configuration and its own status. Published again at every
 * connect, so that a broker that came back empty is filled again.
 */
export function createPresence(
  o: { topics: Topics; instance: string },
  d: {
    mqtt: Mqtt;
    clock: Clock;
    logger: Logger;
    status: () => FleetStatus;
    active: () => PublishedConfiguration | undefined;
  },
): Part & { refresh(): void; publishConfiguration(): void } {
  const statusTopic = o.topics.format({ kind: 'fleet', service: 'control', instance: o.instance });
  const configTopic = o.topics.format({ kind: 'config' });
  let published = '';
  let timer: Timer | undefined;

  function retain(topic: string, payload: string): void {
    // A publish that fails is no loss: the next connect does it again.
    d.mqtt.publish(topic, payload, { qos: 1, retain: true }).catch((error: unknown) => {
      if (topic === statusTopic) published = '';
      d.logger.debug({ err: error, topic }, 'not published');
    });
  }

  function publishConfiguration(): void {
    const active = d.active();
    if (active === undefined || !d.mqtt.connected) return;
    const { revision, configuration, approved } = active;
    const published: PublishedConfiguration = {
      revision,
      configuration,
      ...(approved === undefined ? {} : { approved }),
    };
    retain(configTopic, JSON.stringify(published));
  }

  function refresh(): void {
    if (!d.mqtt.connected) return;
    const status = JSON.stringify(d.status());
    if (status === published) return;
    published = status;
    retain(statusTopic, status);
  }

  function again(): void {
    refresh();
    timer = d.clock.setTimeout(again, REFRESH_MS);
  }

  d.mqtt.onConnect(() => {
    published = '';
    publishConfiguration();
    refresh();
  });

  return {
    refresh,
    publishConfiguration,
    start() {
      again();
      return Promise.resolve();
    },
    async stop() {
      if (timer !== undefined) d.clock.clearTimeout(timer);
      const offline: FleetStatus = { service: 'control', instance: o.instance, state: 'offline' };
      // A clean disconnect does not send the last will.
      if (d.mqtt.connected) {
        await d.mqtt.publish(statusTopic, JSON.stringify(offline), { qos: 1, retain: true }).catch(() => {});
      }
    },
  };
}
