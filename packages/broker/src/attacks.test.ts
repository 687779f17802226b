import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { ConfigurationSchema } from '@brink/protocol';
import { Aedes } from 'aedes';
import type { ISubscriptionMap, MqttClient } from 'mqtt';
import { generate } from 'mqtt-packet';
import { describe, expect, test } from 'vitest';
import {
  as,
  closed,
  connectPacket,
  gone,
  goodTraffic,
  inbox,
  startBroker,
  type TestBroker,
  USERS,
  until,
} from './broker.testing.ts';

const CONNECT_200_MB = Buffer.from([0x10, 0x80, 0x84, 0xaf, 0x5f]);

/** The return codes of SUBACK. */
const granted = (client: MqttClient, filters: ISubscriptionMap) =>
  new Promise<number[]>((resolve) =>
    client.subscribe(filters, (_error, _granted, suback) => resolve(suback?.granted as number[])),
  );

// A number before a name is that of a bad input in the design notes; the rest of them (2, 17, 19, 21) are in floods.test.ts.

const site = (stream: object) => ({
  configuration: ConfigurationSchema.parse({
    version: 1,
    streams: { front: { format: 'image', pipelines: {}, ...stream } },
  }),
});

/** Runs one attack on a broker with users, with good traffic beside it. */
async function beside(attack: (fleet: TestBroker) => Promise<void>, config: Parameters<typeof startBroker>[0] = {}) {
  await using fleet = await startBroker({ users: USERS, ...config });
  const ended = await goodTraffic(fleet);
  await attack(fleet);
  await ended();
}

describe('before anybody is known', () => {
  /** Four sockets announce 200 MB each and send up to 16 MB. @returns by how much the buffers of the process grew */
  async function bomb(port: number) {
    const before = process.memoryUsage().external;
    const chunk = Buffer.alloc(256 * 1024);
    const sockets = [1, 2, 3, 4].map(() => connect({ host: '127.0.0.1', port }).on('error', () => {}));
    await Promise.all(
      sockets.map(async (socket) => {
        socket.write(CONNECT_200_MB);
        for (let sent = 0; sent < 64 && !socket.destroyed; sent++) {
          await new Promise<void>((resolve) => {
            const over = () => {
              socket.removeListener('close', over);
              resolve();
            };
            socket.once('close', over);
            socket.write(chunk, over);
          });
        }
      }),
    );
    return {
      grown: () => process.memoryUsage().external - before,
      end: () => sockets.map((socket) => socket.destroy()),
    };
  }

  test('4: four sockets that announce 200 MB are closed and cost nothing', () =>
    beside(async (fleet) => {
      const { grown, end } = await bomb(fleet.broker.address.port);
      await until(async () => (await fleet.refused('packet_too_large')) === 4, 'all are refused');
      expect(grown()).toBeLessThan(8 * 1024 * 1024);
      end();
    }));

  test('negative control: without the guard the same sockets fill the memory', async () => {
    const aedes = await Aedes.createBroker();
    const server = createServer(aedes.handle);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { grown, end } = await bomb((server.address() as AddressInfo).port);
    await until(() => grown() > 40 * 1024 * 1024, 'what they announced is held');
    end();
    await new Promise<void>((resolve) => aedes.close(() => server.close(() => resolve())));
  });

  test('3: a first packet that is no CONNECT closes the connection', () =>
    beside(async (fleet) => {
      for (const bytes of [
        [0x40, 2, 0, 1],
        [0x30, 3, 0, 1, 97],
        [0xc0, 0],
      ]) {
        const socket = await fleet.raw();
        socket.write(Buffer.from(bytes));
        await gone(socket);
      }
      expect(await fleet.refused('not_connect')).toBe(3);
    }));

  test('6: a remaining length of five bytes closes the connection', () =>
    beside(async (fleet) => {
      const socket = await fleet.raw();
      socket.write(Buffer.from([0x10, 0x80, 0x80, 0x80, 0x80, 0x01]));
      await gone(socket);
      expect(await fleet.refused('malformed')).toBe(1);
    }));

  test('7: a CONNECT that does not arrive in time closes the connection', () =>
    beside(
      async (fleet) => {
        const socket = await fleet.raw();
        socket.write(connectPacket().subarray(0, 5));
        await gone(socket);
        expect(await fleet.refused('connect_timeout')).toBe(1);
      },
      { limits: { connectTimeoutMs: 150 } },
    ));

  test('connections beyond the limit are closed, those within stay', () =>
    beside(
      async (fleet) => {
        const sockets = await Promise.all([fleet.raw(), fleet.raw(), fleet.raw()]);
        await until(() => sockets.filter((socket) => socket.destroyed).length === 2, 'two are closed');
        expect(await fleet.refused('connection_limit')).toBe(2);
      },
      { limits: { connectionsMax: 3 } },
    ));

  test('unfinished packets of all connections together have a limit', () =>
    beside(
      async (fleet) => {
        const sockets = [];
        for (const id of ['raw-1', 'raw-2', 'raw-3']) {
          const socket = await fleet.raw();
          sockets.push(socket);
          socket.write(connectPacket({ clientId: id }));
          // A PUBLISH of 128 KiB, of which 50,000 bytes are sent.
          socket.write(Buffer.concat([Buffer.from([0x30, 0x80, 0x80, 0x08]), Buffer.alloc(50_000)]));
        }
        await until(async () => (await fleet.refused('memory_limit')) === 1, 'one is too many');
        expect(sockets.filter((socket) => !socket.destroyed).length).toBeGreaterThanOrEqual(2);
      },
      { limits: { pendingBytesMax: 140_000 } },
    ));
});

describe('CONNECT', () => {
  test('8: no keepalive, or too long a one, is refused', () =>
    beside(async (fleet) => {
      for (const keepalive of [0, 121, 65_535]) {
        await expect(fleet.connect(as('cam-1', { keepalive }))).rejects.toThrow(/Not authorized/);
      }
      expect(await fleet.refused('keepalive_refused')).toBe(3);
      // Only a socket within this box is known to break when its other end dies.
      await fleet.connect({ keepalive: 0 });
    }));

  test('10: an empty client id with a stored session is rejected as MQTT says', () =>
    beside(async (fleet) => {
      const socket = await fleet.raw();
      const answer = once(socket, 'data');
      socket.write(Buffer.from([0x10, 12, 0, 4, ...Buffer.from('MQTT'), 4, 0, 0, 60, 0, 0]));
      expect([...((await answer)[0] as Buffer)]).toEqual([0x20, 2, 0, 2]);
      await gone(socket);
    }));

  test('9: a connected client id is not taken over by anybody else; the first connection stays', () =>
    beside(async (fleet) => {
      const first = await fleet.connect(as('cam-1'));
      const down = inbox(first);
      await first.subscribeAsync('brink/cam-1/down/#');
      await expect(fleet.connect({ clientId: 'cam-1' })).rejects.toThrow(/Not authorized/);
      await expect(fleet.connect(as('cam-2', { clientId: 'cam-1' }))).rejects.toThrow(/Not authorized/);
      const control = await fleet.connect(as('control'));
      await control.publishAsync('brink/cam-1/down/commands/open', 'secret', { qos: 1 });
      await until(() => down.length === 1, 'the first still gets its commands');
      expect(await fleet.refused('takeover_blocked')).toBe(2);
      expect(first.connected).toBe(true);
    }));

  test('the same user takes its own connection over, with its last will, and gets what comes next', () =>
    beside(async (fleet) => {
      const control = await fleet.connect(as('control'));
      const seen = inbox(control);
      await control.subscribeAsync('brink/cam-1/up/status', { qos: 1 });
      const will = { topic: 'brink/cam-1/up/status', payload: Buffer.from('gone'), qos: 1 as const };
      const first = await fleet.connect(as('cam-1', { will }));
      const end = closed(first);
      const second = await fleet.connect(as('cam-1'));
      await end;
      const down = inbox(second);
      await second.subscribeAsync('brink/cam-1/down/#');
      await control.publishAsync('brink/cam-1/down/commands/open', 'now', { qos: 1 });
      await until(() => down.length === 1 && seen.length === 1, 'the command and the will');
      expect(seen).toEqual(['brink/cam-1/up/status gone']);
      expect(await fleet.refused('taken_over')).toBe(1);
    }));

  test('a client that was killed comes back at once under the same id', () =>
    beside(async (fleet) => {
      for (let turn = 0; turn < 20; turn++) {
        const client = await fleet.connect(
          as('cam-1', { will: { topic: 'brink/cam-1/up/status', payload: Buffer.from('x'), qos: 1 } }),
        );
        await client.subscribeAsync('brink/cam-1/down/#');
        const end = closed(client);
        client.stream.destroy();
        await end;
        // Its socket and the broker's are two: the second may close a turn of the event loop later.
        await until(async () => {
          const next = await fleet.connect(as('cam-1')).catch(() => undefined);
          await next?.endAsync(true);
          return next !== undefined;
        }, 'the id is free again');
      }
    }));

  test('a stored session cannot be entered, or ended, by anybody else', () =>
    beside(async (fleet) => {
      const gateway = await fleet.connect(as('gateway', { clientId: 'gateway-1', clean: false }));
      await gateway.subscribeAsync('brink/cam-1/up/frames/#', { qos: 1 });
      await gateway.endAsync();
      const device = await fleet.connect(as('cam-1'));
      await device.publishAsync('brink/cam-1/up/frames/front/boot-1', 'private', { qos: 1 });
      await expect(fleet.connect({ clientId: 'gateway-1', clean: false })).rejects.toThrow(/Not authorized/);
      await expect(fleet.connect({ clientId: 'gateway-1', clean: true })).rejects.toThrow(/Not authorized/);
      expect(await fleet.refused('session_foreign')).toBe(2);
      const back = await fleet.connect(as('gateway', { clientId: 'gateway-1', clean: false }));
      const received = inbox(back);
      await until(() => received.length === 1, 'the frame waited for its gateway');
    }));

  test('15: a last will on a foreign topic is refused; on the own status it is published', () =>
    beside(async (fleet) => {
      const will = (topic: string, retain = false) => ({
        will: { topic, payload: Buffer.from('bye'), qos: 0 as const, retain },
      });
      for (const topic of ['brink/cam-2/up/status', 'brink/cam-1/down/commands/open', '$SYS/x', 'a/b/c/d/e/f/g/h/i']) {
        await expect(fleet.connect(as('cam-1', will(topic)))).rejects.toThrow(/Not authorized/);
      }
      await expect(fleet.connect(as('cam-1', will('brink/cam-1/up/frames/front', true)))).rejects.toThrow();
      expect(await fleet.refused('acl_will')).toBe(5);

      const control = await fleet.connect(as('control'));
      const seen = inbox(control);
      await control.subscribeAsync('brink/+/up/status');
      const device = await fleet.connect(as('cam-1', will('brink/cam-1/up/status', true)));
      device.stream.destroy();
      await until(() => seen.includes('brink/cam-1/up/status bye'), 'the last will');
    }));

  test('1: credentials: none, unknown and wrong ones are refused alike where they are asked for', () =>
    beside(
      async (fleet) => {
        await expect(fleet.connect()).rejects.toThrow(/Not authorized/);
        await expect(fleet.connect(as('nobody'))).rejects.toThrow(/Not authorized/);
        await expect(fleet.connect(as('cam-1', { password: 'brink' }))).rejects.toThrow(/Not authorized/);
        expect(await fleet.refused('auth_none')).toBe(1);
        expect(await fleet.refused('auth_failed')).toBe(2);
      },
      { anonymous: 'never' },
    ));
});

describe('PUBLISH', () => {
  test('12: what a device may not say is heard by nobody, and ends its connection only', () =>
    beside(async (fleet) => {
      const control = await fleet.connect(as('control'));
      const seen = inbox(control);
      await control.subscribeAsync(['brink/cam-1/#', 'brink/fleet/#', 'other/#', 'brink/cam-2/up/status']);
      const topics = [
        'brink/cam-2/up/status',
        'brink/cam-1/down/commands/open',
        'brink/cam-1/down/receipts/front',
        'brink/cam-1/state',
        'brink/fleet/config',
        'brink/fleet/gateway/gateway-1',
        'other/topic',
        '$SYS/x/new/clients',
        '$share/g/x',
        'brink/cam-1/up/frames/front/a/b',
      ];
      for (const topic of topics) {
        const device = await fleet.connect(as('cam-1'));
        const end = closed(device);
        device.publish(topic, 'cam-2', { qos: 0 });
        await end;
        await until(
          () =>
            fleet.connect(as('cam-1')).then(
              (again) => again.endAsync(true).then(() => true),
              () => false,
            ),
          'free',
        );
      }
      expect(await fleet.refused('acl_publish')).toBe(topics.length);
      expect(seen).toEqual([]);
    }));

  test('5: a message larger than the limit ends the connection before it is read', () =>
    beside(
      async (fleet) => {
        const device = await fleet.connect(as('cam-1'));
        await device.publishAsync('brink/cam-1/up/frames/front', Buffer.alloc(1_000_000), { qos: 1 });
        const end = closed(device);
        device.publish('brink/cam-1/up/frames/front', Buffer.alloc(2_000_000), { qos: 1 });
        await end;
        expect(await fleet.refused('packet_too_large')).toBe(1);
      },
      { frameBytesMax: 1_000_000 },
    ));

  test('14: a retained frame is refused by name and stays with nobody', () =>
    beside(async (fleet) => {
      const device = await fleet.connect(as('cam-1'));
      const end = closed(device);
      device.publish('brink/cam-1/up/frames/front', 'old', { retain: true, qos: 1 });
      await end;
      expect(await fleet.refused('retained')).toBe(1);
      const control = await fleet.connect(as('control'));
      const seen = inbox(control);
      await control.subscribeAsync('brink/cam-1/#');
      await control.publishAsync('brink/cam-1/state', 'now', { qos: 1 });
      await until(() => seen.length > 0, 'something');
      expect(seen).toEqual(['brink/cam-1/state now']);
    }));

  test('retained messages have a limit', () =>
    beside(
      async (fleet) => {
        const operator = await fleet.connect();
        await operator.publishAsync('brink/cam-7/up/status', 'one', { retain: true, qos: 1 });
        await operator.publishAsync('brink/cam-7/up/status', 'two', { retain: true, qos: 1 });
        await operator.publishAsync('brink/cam-8/up/status', 'one', { retain: true, qos: 1 });
        await operator.publishAsync('brink/cam-8/up/status', '', { retain: true, qos: 1 });
        await operator.publishAsync('brink/cam-9/up/status', 'one', { retain: true, qos: 1 });
        const end = closed(operator);
        operator.publish('brink/cam-10/up/status', 'one', { retain: true, qos: 1 });
        await end;
        expect(await fleet.refused('retained_limit')).toBe(1);
      },
      { limits: { retainedMessagesMax: 2 } },
    ));

  test('13: topics that are too deep, too long or no text end the connection', () =>
    beside(async (fleet) => {
      const packets = [
        generate({
          cmd: 'publish',
          topic: new Array(200).fill('a').join('/'),
          payload: 'x',
          qos: 0,
          dup: false,
          retain: false,
        }),
        generate({ cmd: 'publish', topic: `a/${'b'.repeat(60_000)}`, payload: 'x', qos: 0, dup: false, retain: false }),
        Buffer.from([0x30, 5, 0, 3, 0x61, 0x00, 0x62]),
        Buffer.from([0x30, 5, 0, 3, 0xef, 0xbf, 0xbf]),
        Buffer.from([0x30, 4, 0, 2, 0xc3, 0x28]),
        Buffer.from([0x30, 4, 0, 2, 0x61, 0x2b]),
        Buffer.from([0x30, 2, 0, 0]),
      ];
      for (const packet of packets) {
        const socket = await fleet.raw();
        socket.write(connectPacket());
        await once(socket, 'data');
        socket.write(packet);
        await gone(socket);
      }
      await until(async () => (await fleet.refused('topic_invalid')) === packets.length, 'all are counted');
    }));

  test('16: QoS 2 messages without PUBREL have a limit', () =>
    beside(async (fleet) => {
      const socket = await fleet.raw();
      socket.write(connectPacket());
      await once(socket, 'data');
      for (let messageId = 1; messageId <= 1001; messageId++) {
        const topic = 'brink/cam-7/up/frames/front';
        socket.write(generate({ cmd: 'publish', topic, payload: 'x', qos: 2, messageId, dup: false, retain: false }));
      }
      await gone(socket);
      expect(await fleet.refused('qos2_window')).toBeGreaterThanOrEqual(1);
    }));
});

describe('SUBSCRIBE', () => {
  test('11: a device gets nothing but what is sent down to it', () =>
    beside(async (fleet) => {
      const device = await fleet.connect(as('cam-1'));
      const seen = inbox(device);
      const filters = [
        '#',
        '+/#',
        '$SYS/#',
        'brink/#',
        'brink/cam-2/down/#',
        'brink/+/up/frames/#',
        '$share/g/brink/+/up/#',
      ];
      for (const filter of filters) {
        await expect(device.subscribeAsync(filter, { qos: 1 })).rejects.toThrow();
      }
      expect(await fleet.refused('acl_subscribe')).toBe(filters.length);
      const control = await fleet.connect(as('control'));
      await control.publishAsync('brink/cam-2/down/commands/open', 'x', { qos: 1 });
      await device.subscribeAsync('brink/cam-1/down/#');
      await control.publishAsync('brink/cam-1/down/commands/open', 'y', { qos: 1 });
      await until(() => seen.length > 0, 'its own command');
      expect(seen).toEqual(['brink/cam-1/down/commands/open y']);
    }));

  test('topics of other systems: the gateway reads those that the configuration maps, from when control publishes it', () =>
    beside(async (fleet) => {
      const { configuration } = site({ topics: ['frigate/{device}/snapshot'] });
      const [gateway, control] = [await fleet.connect(as('gateway')), await fleet.connect(as('control'))];
      const seen = inbox(gateway);
      await expect(gateway.subscribeAsync('frigate/+/snapshot', { qos: 1 })).rejects.toThrow();
      const publish = (published: object) =>
        control.publishAsync('brink/fleet/config', JSON.stringify(published), { qos: 1, retain: true });
      await publish({ revision: 'c7f1a2b3d4e5', configuration });
      await gateway.subscribeAsync('frigate/+/snapshot', { qos: 1 });
      await expect(gateway.subscribeAsync('frigate/#', { qos: 1 })).rejects.toThrow();
      await control.publishAsync('frigate/front/snapshot', 'one', { qos: 1 });
      await until(() => seen.length === 1, 'the picture');
      // A configuration that cannot be read changes nothing; one without the topic takes the right away, also from who is subscribed.
      await publish({ revision: 'c7f1a2b3d4e5' });
      await control.publishAsync('frigate/front/snapshot', 'two', { qos: 1 });
      await until(() => seen.length === 2, 'the next picture');
      await publish({ revision: 'c7f1a2b3d4e6', configuration: site({}).configuration });
      await control.publishAsync('frigate/front/snapshot', 'three', { qos: 1 });
      await expect(gateway.subscribeAsync('frigate/+/snapshot', { qos: 1 })).rejects.toThrow();
      expect(seen).toEqual(['frigate/front/snapshot one', 'frigate/front/snapshot two']);
      // Nobody but control can widen it.
      const device = await fleet.connect(as('cam-1'));
      const end = closed(device);
      device.publish('brink/fleet/config', JSON.stringify({ revision: 'c7f1a2b3d4e7', configuration }));
      await end;
      await expect(gateway.subscribeAsync('frigate/+/snapshot', { qos: 1 })).rejects.toThrow();
    }));

  test('a shared subscription takes no frame away from the gateway', () =>
    beside(async (fleet) => {
      const operator = await fleet.connect();
      const stolen = inbox(operator);
      await expect(operator.subscribeAsync('$share/g/brink/+/up/frames/#', { qos: 1 })).rejects.toThrow();
      expect(stolen).toEqual([]);
    }));

  test('a filter that was refused is not stored with the session either', () =>
    beside(async (fleet) => {
      const options = as('gateway', { clientId: 'gateway-1', clean: false });
      const gateway = await fleet.connect(options);
      const filters = { 'brink/cam-1/up/#': { qos: 1 as const }, 'brink/+/down/#': { qos: 1 as const } };
      expect(await granted(gateway, filters)).toEqual([1, 128]);
      await gateway.endAsync();
      const control = await fleet.connect(as('control'));
      await control.publishAsync('brink/cam-1/down/commands/open', 'x', { qos: 1 });
      expect(await fleet.queued()).toBe(0);
    }));

  test('18: subscriptions beyond 50 are refused, and 10,000 in one packet end the connection', () =>
    beside(async (fleet) => {
      const operator = await fleet.connect();
      const filters = Object.fromEntries(
        Array.from({ length: 60 }, (_, i) => [`brink/cam-${i}/#`, { qos: 0 as const }]),
      );
      expect((await granted(operator, filters)).filter((code) => code === 128)).toHaveLength(10);
      expect(await fleet.refused('sub_limit')).toBe(10);
      await operator.unsubscribeAsync('brink/cam-1/#');
      await operator.subscribeAsync('brink/cam-70/#');

      for (const [length, reason] of [
        [5000, 'sub_limit'],
        [10_000, 'packet_too_large'],
      ] as const) {
        const before = await fleet.refused(reason);
        const socket = await fleet.raw();
        socket.write(connectPacket());
        await once(socket, 'data');
        const subscriptions = Array.from({ length }, (_, i) => ({ topic: `a/${i}`, qos: 0 as const }));
        socket.write(generate({ cmd: 'subscribe', messageId: 1, subscriptions }));
        await gone(socket);
        expect((await fleet.refused(reason)) - before).toBe(1);
      }
    }));

  test('20: a subscriber that does not read stops nobody, and is disconnected', () =>
    beside(
      async (fleet) => {
        const socket = await fleet.raw();
        socket.write(connectPacket({ clientId: 'stopped' }));
        await once(socket, 'data');
        socket.write(generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'brink/#', qos: 0 }] }));
        await once(socket, 'data');
        socket.pause();
        const device = await fleet.connect(as('cam-1'));
        const gateway = await fleet.connect(as('gateway'));
        const received = inbox(gateway);
        await gateway.subscribeAsync('brink/cam-1/up/frames/#');
        for (let frame = 0; frame < 64; frame++) {
          await device.publishAsync('brink/cam-1/up/frames/front', Buffer.alloc(512 * 1024), { qos: 1 });
        }
        await until(() => received.length === 64, 'the gateway gets every frame');
        expect(await fleet.dropped('slow_consumer')).toBeGreaterThan(0);
        await until(async () => (await fleet.refused('slow_consumer')) === 1, 'it is disconnected');
      },
      { limits: { drainTimeoutMs: 300 } },
    ));
});

test('a gateway that hangs holds up its senders until it is disconnected, and nobody else', () =>
  beside(
    async (fleet) => {
      const socket = await fleet.raw();
      socket.write(connectPacket({ clientId: 'hung', username: 'gateway', password: Buffer.from('g') }));
      await once(socket, 'data');
      socket.write(
        generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'brink/cam-1/up/frames/#', qos: 0 }] }),
      );
      await once(socket, 'data');
      socket.pause();
      const device = await fleet.connect(as('cam-1'));
      const operator = await fleet.connect();
      const seen = inbox(operator);
      await operator.subscribeAsync('brink/cam-1/up/frames/#');
      const before = process.memoryUsage().external;
      const sending = (async () => {
        for (let frame = 0; frame < 128; frame++) {
          await device.publishAsync(`brink/cam-1/up/frames/front/boot-${frame}`, Buffer.alloc(512 * 1024), { qos: 1 });
        }
      })();
      await until(async () => (await fleet.refused('slow_consumer')) === 1, 'it is disconnected');
      expect(process.memoryUsage().external - before).toBeLessThan(40 * 1024 * 1024);
      expect(seen.length).toBeLessThan(100);
      await sending;
      await until(() => seen.length === 128, 'every frame, once it goes on');
      expect(seen).toEqual(Array.from({ length: 128 }, (_, i) => `brink/cam-1/up/frames/front/boot-${i} 524288`));
    },
    { limits: { serviceDrainTimeoutMs: 300, publishBytesPerSMax: 2 ** 30 } },
  ));

test('an offline session keeps what fits, drops the rest and counts it', () =>
  beside(
    async (fleet) => {
      const options = as('gateway', { clientId: 'gateway-1', clean: false });
      const gateway = await fleet.connect(options);
      await gateway.subscribeAsync('brink/cam-1/up/frames/#', { qos: 1 });
      await gateway.endAsync();
      const device = await fleet.connect(as('cam-1'));
      for (let seq = 1; seq <= 150; seq++) {
        await device.publishAsync(`brink/cam-1/up/frames/front/boot-${seq}`, 'x', { qos: 1 });
      }
      await until(async () => (await fleet.dropped('queue_full')) === 50, '50 are dropped');
      expect(await fleet.queued()).toBe(100);

      const back = await fleet.connect(options);
      const received = inbox(back);
      await until(() => received.length === 100, 'what was kept arrives');
      expect(received).toEqual(Array.from({ length: 100 }, (_, i) => `brink/cam-1/up/frames/front/boot-${i + 1} x`));
      await until(async () => (await fleet.queued()) === 0, 'nothing is left once it is acknowledged');
      await device.publishAsync('brink/cam-1/up/frames/front/boot-151', 'x', { qos: 1 });
      await until(() => received.length === 101, 'and it goes on');
    },
    { limits: { queueMessagesMax: 100 } },
  ));

test('the bytes that wait in stored sessions have a limit of their own, and are told', () =>
  beside(
    async (fleet) => {
      const options = as('gateway', { clientId: 'gateway-1', clean: false });
      const gateway = await fleet.connect(options);
      await gateway.subscribeAsync('brink/cam-1/up/frames/#', { qos: 1 });
      await gateway.endAsync();
      const device = await fleet.connect(as('cam-1'));
      for (let seq = 1; seq <= 12; seq++) {
        await device.publishAsync(`brink/cam-1/up/frames/front/boot-${seq}`, Buffer.alloc(1000), { qos: 1 });
      }
      await until(async () => (await fleet.dropped('queue_full')) === 2, 'two are dropped');
      expect([await fleet.queued(), await fleet.queuedBytes()]).toEqual([10, 10_000]);
      const received = inbox(await fleet.connect(options));
      await until(() => received.length === 10, 'what was kept arrives');
      await until(async () => (await fleet.queuedBytes()) === 0, 'and makes room');
    },
    { limits: { queueBytesMax: 10_500 } },
  ));
