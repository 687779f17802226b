import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { outcome, SITE, startControl, until } from './harness.ts';

test('the monitor hears of a control that is ready; its own figures are there to be scraped', async () => {
  const heard: string[] = [];
  const monitor = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    heard.push(body);
    response.end();
  });
  monitor.listen(0, '127.0.0.1');
  await once(monitor, 'listening');
  const url = `http://127.0.0.1:${(monitor.address() as AddressInfo).port}/`;
  const heartbeat = `heartbeat: { url: "${url}", every_ms: 1000, allow_private: true }`;
  const site = SITE.replace('name: plant-7,', `name: plant-7, ${heartbeat},`);
  await using control = await startControl({ files: { 'site.yaml': site } });
  const metrics = async () => (await fetch(`http://127.0.0.1:${control.service.addresses.ops.port}/metrics`)).text();
  const figure = async (name: string) =>
    Number(new RegExp(`^brink_control_${name}\\{[^}]*\\} (\\S+)$`, 'm').exec(await metrics())?.[1] ?? Number.NaN);
  const commands = await control.listen('brink/feeder-1/down/commands/+');
  // A cat of two seconds ago: the command leaves that long after the frame had come.
  await control.commit(outcome(1, { received_ms: Date.now() - 2000 }));
  await until('the command', () => commands.length > 0);
  await until('it is measured', async () => (await figure('dispatch_lag_seconds_count')) === 1);
  expect(await figure('dispatch_lag_seconds_sum')).toBeGreaterThanOrEqual(2);
  expect(await figure('dispatch_lag_seconds_sum')).toBeLessThan(10);
  expect(await figure('commit_lag_seconds_sum')).toBeGreaterThanOrEqual(2);
  expect(await figure('ledger_wal_bytes')).toBeGreaterThanOrEqual(0);
  expect(await figure('laws_broken')).toBe(0);
  await until('a heartbeat', () => heard.length > 0);
  expect(JSON.parse(heard[0] ?? '')).toMatchObject({ site: 'plant-7', ready: true });
  monitor.closeAllConnections();
  monitor.close();
});
