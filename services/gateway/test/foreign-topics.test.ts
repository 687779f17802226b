import type { Configuration } from '@brink/protocol';
import mqtt, { type IClientPublishOptions } from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { noMosquitto, startMosquitto } from './harness/mosquitto.ts';
import { writePassport } from './harness/neighbours.ts';
import { jpeg, png } from './harness/pictures.ts';
import { expectLaws, SITE, type Site, startSite, tensor, until } from './harness/site.ts';

let site: Site;
beforeAll(async () => {
  site = await startSite();
  await site.ready();
});
afterEach(() => expectLaws(site));
afterAll(() => site?.[Symbol.asyncDispose]());

let revisions = 0;
/** In force when this resolves. @param topics of the stream `front` */
async function configured(topics: string[], streams: object = {}): Promise<void> {
  const front = { ...SITE.streams!['front'], devices: '*', topics };
  const revision = `${++revisions}`.padStart(12, 'a');
  await site.configure(
    { ...SITE, streams: { ...SITE.streams, front, ...streams } } as unknown as Configuration,
    revision,
  );
  // What a subscription brings is known as soon as it is made: the broker does all of this in order.
  for (const [i, topic] of topics.entries()) {
    const device = `probe-${revisions}-${i}`;
    await until(async () => {
      await site.publish(topic.replace('{device}', device).replaceAll('+', 'x'), png(8, 8));
      return site.service.counts.frames(device, 'front').received > 0;
    }, `${topic} is not heard`);
  }
}

const decidedBy = (device: string) =>
  site.control.outcomes.filter((one) => one.device === device && one.outcome === 'decided');
const ignored = () => site.metric(/^brink_gateway_foreign_ignored[{ ]/);
const rejected = (code: string) => site.metric(new RegExp(`frames_rejected_total\\{.*code="${code}"`));

describe("another system's topics", () => {
  it('bring frames to a stream, under the name of their device; the gateway numbers them', async () => {
    await configured(['frigate/{device}/snapshot', 'tele/cam_{device}/SENSOR']);
    await site.publish('frigate/Front_Door/snapshot', jpeg());
    await site.publish('tele/cam_2/SENSOR', jpeg());
    await site.publish('tele/plug/SENSOR', '{"ENERGY":{"Power":3}}');
    await site.frame('cam-1', 'front', jpeg(), 'k3v9-1');
    await until(() => [decidedBy('2'), decidedBy('cam-1'), decidedBy('front-door')].every((list) => list.length === 1));
    expect(decidedBy('front-door')[0]).toMatchObject({
      stream: 'front',
      seq: 1,
      boot: expect.stringMatching(/^g[0-9a-z]{8}$/),
    });
    expect(await ignored()).toBe(1);
  });

  it('follow the configuration: subscribed when a stream names them, left when it does no more', async () => {
    await configured([]);
    await site.publish('frigate/early/snapshot', jpeg());
    await configured(['frigate/{device}/snapshot']);
    expect(site.service.counts.frames('early', 'front').received).toBe(0);
    await configured(['other/{device}/snapshot']);
    const before = await ignored();
    await site.publish('frigate/late/snapshot', jpeg());
    await site.publish('other/in-time/snapshot', jpeg());
    await until(() => decidedBy('in-time').length === 1);
    expect([site.service.counts.frames('late', 'front').received, await ignored()]).toEqual([0, before]);
  });

  it('are left too when the configuration changed while the gateway was away, and the broker kept the session', async () => {
    const press = { format: 'tensor', delivery: 'durable', pipelines: { presses: { model: 'cats' } } };
    await configured([], { press: { ...press, topics: ['plc/{device}/raw'] } });
    await until(async () => {
      await site.publish('plc/before/raw', tensor());
      return site.service.counts.frames('before', 'press').received > 0;
    }, 'plc/+/raw is not heard');
    await site.service.stop();
    await site.configure({ ...SITE, streams: { ...SITE.streams, press } } as unknown as Configuration, 'cccccccccccc');
    await site.restart();
    await site.ready();
    const heard = () => site.metric(/^brink_mqtt_messages_received_total[{ ]/);
    await until(async () => {
      const before = [await heard(), decidedBy('cam-3').length] as const;
      await site.publish('plc/away/raw', tensor());
      await site.frame('cam-3', 'front', jpeg());
      await until(() => decidedBy('cam-3').length > before[1]);
      return (await heard()) === before[0] + 1;
    }, 'the broker still sends what nobody wants');
  });

  it('may be retained: what the broker kept from before is refused and counted, what comes live is a frame', async () => {
    const before = [await rejected('E_RETAINED'), site.control.letters.length] as const;
    const cameras = Array.from({ length: 60 }, (_, i) => `kept-${i}`);
    await Promise.all(cameras.map((camera) => site.publish(`kept/${camera}/snapshot`, jpeg(), { retain: true })));
    await configured(['kept/{device}/snapshot']);
    await until(async () => (await rejected('E_RETAINED')) === before[0] + 60);
    await site.publish('kept/kept-1/snapshot', jpeg(), { retain: true });
    await until(() => decidedBy('kept-1').length === 1);
    expect(site.service.counts.frames('kept-1', 'front')).toMatchObject({ received: 2, rejected: 1, accepted: 1 });
    // One letter for each would bury every other: they share an allowance.
    await until(() => site.control.letters.length > before[1]);
    expect(site.control.letters.length - before[1]).toBeLessThan(30);
    const { error } = site.control.letters[before[1]]!;
    expect(error).toMatchObject({ code: 'E_RETAINED', detail: expect.stringContaining('from before') });
  });

  it('name devices as they like: by rule, and refused by name where that gives none or one that is another', async () => {
    await configured(['zigbee2mqtt/{device}', 'frigate/{device}/snapshot']);
    const before = site.control.letters.length;
    await site.publish('zigbee2mqtt/Living Room', jpeg());
    for (const topic of ['zigbee2mqtt/living_room', 'frigate/living-room/snapshot', 'zigbee2mqtt/厨房'])
      await site.publish(topic, jpeg());
    await until(() => decidedBy('living-room').length === 1);
    await until(() => site.control.letters.length === before + 3);
    const letters = site.control.letters.slice(before);
    expect(letters.map(({ device, stream, error }) => [device, stream, error.code])).toEqual([
      ['living_room', 'front', 'E_NAME'],
      ['living-room', 'front', 'E_NAME'],
      ['厨房', 'front', 'E_NAME'],
    ]);
    expect(letters[0]?.error.detail).toContain('"zigbee2mqtt/Living Room"');
    expect(site.service.counts.elsewhere).toMatchObject({ received: 3, rejected: 3 });
    expect(await rejected('E_NAME')).toBe(3);
  });

  it('may be the states of things: single numbers, found by their paths, become windows', async () => {
    const climate = {
      ...{ tensor: 'x', signal: { rate_hz: 10, window: 2, hop: 2, channels: ['temperature', 'power'] } },
    };
    const model = await writePassport(site.modelsDir, { name: 'climate', inputs: [climate] });
    await site.inference.announce([site.cats, model]);
    const fields = ['power=ENERGY.Power', 'temperature', 'humidity'];
    const signal = { encoding: 'json', fields, rate_hz: 10 };
    const home = { format: 'signal', topics: ['zigbee2mqtt/{device}', 'tele/{device}/SENSOR'], signal };
    await configured(['frigate/{device}/snapshot'], {
      home: { ...home, frame_age_ms_max: 20_000, pipelines: { mould: { model: 'climate' } } },
    });
    const state = (temperature: number, power: number) =>
      JSON.stringify({ temperature, humidity: 40, battery: null, update: { state: 'idle' }, ENERGY: { Power: power } });
    for (const payload of [state(21.5, 3), '{"temperature":22}', 'online', state(22.5, 4)])
      await site.publish('zigbee2mqtt/Bath Sensor', payload);
    await until(() => decidedBy('bath-sensor').length === 1);
    const { tensors } = site.inference.decides.at(-1)!;
    expect([...new Float32Array(new Uint8Array(tensors[0]!).buffer)]).toEqual([21.5, 22.5, 3, 4]);
    expect(site.service.counts.frames('bath-sensor', 'home')).toMatchObject({ accepted: 2, rejected: 2 });
    const refused = site.control.letters.filter(({ device }) => device === 'bath-sensor').map(({ error }) => error);
    expect(refused.map(({ code }) => code)).toEqual(['E_SHAPE', 'E_TYPE']);
    expect(refused[0]?.detail).toBe('no "ENERGY.Power"; found "temperature"');
  });

  it('can be durable: each message is kept and decided', async () => {
    const pipelines = { presses: { model: 'cats' } };
    const press = { format: 'tensor', delivery: 'durable', topics: ['plc/{device}/raw'], pipelines };
    await configured(['frigate/{device}/snapshot'], { press });
    for (let i = 0; i < 10; i++) await site.publish('plc/press-1/raw', tensor(i));
    await until(() => decidedBy('press-1').length === 10);
    expect(site.service.counts.frames('press-1', 'press')).toMatchObject({ received: 10, accepted: 10 });
    expect(new Set(decidedBy('press-1').map(({ seq }) => seq)).size).toBe(10);
  });

  it("are refused where they reach into Brink's own, and the configuration before stays in force", async () => {
    const own = { ...SITE.streams!['front'], topics: ['brink/{device}/up/frames/front'] };
    await site.configure({ ...SITE, streams: { front: own } } as unknown as Configuration, 'eeeeeeeeeeee');
    await until(async () => (await site.problems()).some((problem) => problem.includes("Brink's own")));
    await site.publish('frigate/still/snapshot', jpeg());
    await until(() => decidedBy('still').length === 1);
  });
});

const skipped = noMosquitto === undefined ? '' : ` (skipped: ${noMosquitto})`;
it.skipIf(skipped !== '')(
  `on Mosquitto, over MQTT 5: live messages alone, and content types that are not so${skipped}`,
  async () => {
    await using mosquitto = await startMosquitto();
    const front = { ...SITE.streams!['front'], devices: '*', topics: ['frigate/{device}/snapshot'] };
    const configuration = { ...SITE, streams: { front } } as unknown as Configuration;
    await using on = await startSite({ brokerUrl: mosquitto.url, configuration: SITE });
    await on.ready();
    const sender = await mqtt.connectAsync(mosquitto.url, { protocolVersion: 5, reconnectPeriod: 0 });
    const publish = (topic: string, options: IClientPublishOptions) =>
      sender.publishAsync(topic, jpeg(), { qos: 1, ...options });
    await publish('frigate/kept/snapshot', { retain: true });
    await on.configure(configuration, 'aaaaaaaaaaaa');
    await until(async () => {
      await publish('frigate/probe/snapshot', {});
      return on.service.counts.frames('probe', 'front').received > 0;
    });
    // Kept from before: not even sent. Live: a frame, though it is to be retained.
    expect(on.service.counts.frames('kept', 'front').received).toBe(0);
    await publish('frigate/live/snapshot', { retain: true });
    await until(() => on.control.outcomes.some(({ device }) => device === 'live'));
    // On Brink's own topics nothing is to be retained, and MQTT 5 lets it be seen.
    await publish('brink/cam-1/up/frames/front', { retain: true });
    await publish('brink/cam-2/up/frames/front', { properties: { contentType: 'application/gzip' } });
    await publish('brink/cam-3/up/frames/front', { properties: { contentType: 'image/png' } });
    const id = { boot: 'k3v9', seq: '7' };
    await publish('brink/cam-4/up/frames/front', { properties: { contentType: 'image/jpeg', userProperties: id } });
    await publish('brink/cam-5/up/frames/front', { properties: { userProperties: { boot: 'k3v9' } } });
    await until(() => on.control.letters.length === 4 && on.control.outcomes.some(({ device }) => device === 'cam-4'));
    expect(on.control.outcomes.find(({ device }) => device === 'cam-4')).toMatchObject({
      boot: 'k3v9',
      seq: 7,
      outcome: 'decided',
    });
    expect(on.control.letters.map(({ device, error }) => `${device} ${error.code}`).sort()).toEqual([
      'cam-1 E_RETAINED',
      'cam-2 E_ENCODING',
      'cam-3 E_TYPE',
      'cam-5 E_TOPIC',
    ]);
    await sender.endAsync();
    expectLaws(on);
  },
);
