// For the bench `decision-log`, in place of control: says COMMITTED to every batch of outcomes at once, and passes their decisions on to the feed. No ledger, no
// rules, no schema: what is left is what control costs without keeping anything.
import { readFileSync } from 'node:fs';
import { ConfigurationSchema, createTopics, formatUnitId, type Outcome } from '@brink/protocol';
import { createLinkServer, createMqtt, silentLogger, systemClock } from '@brink/runtime';

const { SITE = '', MQTT = '', LINK = '', PASSWORD = '' } = process.env;
const topics = createTopics('brink');
const deps = { logger: silentLogger, clock: systemClock, random: Math.random };
const mqtt = createMqtt(
  { url: MQTT, clientId: 'control', username: 'control', password: PASSWORD, clean: true, outgoingMax: 16_384 },
  deps,
);
const configuration = ConfigurationSchema.parse(JSON.parse(readFileSync(SITE, 'utf8')));
mqtt.onConnect(() => {
  const published = JSON.stringify({ revision: '0123456789ab', configuration });
  void mqtt.publish(topics.format({ kind: 'config' }), published, { qos: 1, retain: true });
});

function publish(payload: Buffer): void {
  const { evidence: _, result, ...outcome } = JSON.parse(payload.toString('utf8')) as Outcome;
  const topic = topics.format({ kind: 'decisions', device: outcome.device, stream: outcome.stream });
  const decision = JSON.stringify({ v: 1, id: formatUnitId(outcome), ...outcome, ...result });
  mqtt.publish(topic, decision, { qos: 0 }).catch(() => {});
}

const server = createLinkServer(
  { service: 'control', instance: 'no-ledger', listen: { path: LINK }, window: 32, frameBytesMax: 32 * 1024 * 1024 },
  {
    ...deps,
    handlers: {
      async outcomes(_, payloads) {
        for (const payload of payloads) publish(payload);
        return { body: { case: 'committed', value: { count: payloads.length, refused: [] } } };
      },
      report: async () => ({ body: { case: 'done', value: {} } }),
    },
  },
);
await server.start(AbortSignal.timeout(10_000));
await mqtt.start(AbortSignal.timeout(10_000));
process.stdin.on('end', () => process.exit()).resume();
