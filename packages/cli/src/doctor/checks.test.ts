import type { Configuration, Status } from '@brink/protocol';
import { expect, test } from 'vitest';
import { examine, type Finding, type Site } from './checks.ts';

const NOW = 1_700_000_000_000;
const online = (service: 'gateway' | 'inference' | 'control') =>
  ({ service, instance: `${service}-1`, state: 'online', ready: true }) as const;
const law = { holds: true, items: [] };

const status = {
  ...{ site: 'plant-7', now: new Date(NOW).toISOString(), ready: true, problems: [] },
  configuration: { revision: 'c7f1a2000000', activated_at: '', error: null, applied: true },
  services: [online('gateway'), online('inference'), online('control')],
  laws: { streams: law, pipelines: law },
  ledger: { n: 1, lag_ms: 12, queued: 0, problem: null, wal_bytes: 4096, last_commit_ms: 1, committed: [] },
  ...{ rules: { set_aside: [] }, actions: {}, outbox: { oldest_ms: null }, dead: [] },
  disk: { path: 'data', free_bytes: 50, total_bytes: 100 },
} as unknown as Status;
const site: Site = {
  ...{ status, discovered: [], nowMs: NOW },
  devices: [{ name: 'cam-1', state: 'online', registered: true }] as unknown as Site['devices'],
  configuration: { site: { heartbeat: { url: 'https://monitor.example', every_ms: 60_000 } } } as Configuration,
};

const worst = (findings: readonly Finding[]) => findings.filter(({ state }) => state !== 'ok');

test('a site that is well has nothing to be said of', () => {
  expect(worst(examine(site))).toEqual([]);
});

test.each<[string, Partial<Status>, Finding['state'], RegExp]>([
  ['no gateway', { services: [online('inference'), online('control')] as never }, 'problem', /gateway is not there/],
  ['not ready', { problems: ['gateway-1: inference does not serve "x"'] }, 'problem', /brink models list/],
  [
    'files',
    { configuration: { ...status.configuration, error: { detail: 'a.yaml:1:1' } } as never },
    'problem',
    /brink check/,
  ],
  [
    'books',
    { laws: { ...status.laws, pipelines: { holds: false, items: [{ pipeline: 'pets', holds: false }] } } as never },
    'problem',
    /pets does not account/,
  ],
  ['ledger', { ledger: { ...status.ledger, problem: 'E_STORAGE_FULL: disk' } }, 'problem', /make room/],
  ['late', { ledger: { ...status.ledger, lag_ms: 9000 } }, 'note', /9000 ms/],
  ['disk', { disk: { path: 'data', free_bytes: 4, total_bytes: 100 } }, 'problem', /96 % full/],
  ['disk, soon', { disk: { path: 'data', free_bytes: 8, total_bytes: 100 } }, 'note', /92 % full/],
  ['outbox', { outbox: { oldest_ms: 3_600_000 } }, 'note', /open for 60 min/],
  ['aside', { rules: { set_aside: [{ rule: 'night' }] } as never }, 'note', /brink rules arm/],
  ['dead', { dead: [{ code: 'E_IMAGE_TYPE', count: 3 }] }, 'note', /3 were refused.*brink dead/],
  ['clock', { now: new Date(NOW + 90_000).toISOString() }, 'note', /by 90 s.*NTP/],
])('%s: it is found, with what to do', (_, change, state, expected) => {
  const found = worst(examine({ ...site, status: { ...status, ...change } as Status }));
  expect(found.map((one) => one.state)).toEqual([state]);
  const [{ what, detail, advice } = { what: '', detail: '', advice: '' }] = found;
  expect(`${what} ${detail}; ${advice}`).toMatch(expected);
});

test('devices that were added and are away, topics of no stream, and no heartbeat are noted', () => {
  const change = {
    devices: [
      { name: 'cam-1', state: 'offline', registered: true },
      { name: 'cam-2', state: 'offline', registered: false },
      { name: 'cam-3', state: 'unknown', registered: true, last_seen: '2026-11-22T16:00:00.000Z' },
      { name: 'cam-4', state: 'unknown', registered: true },
    ] as unknown as Site['devices'],
    discovered: [{}] as unknown as Site['discovered'],
    configuration: { site: {} } as Configuration,
  };
  const found = worst(examine({ ...site, ...change }));
  expect(found.map(({ what, state, detail }) => [what, state, detail])).toEqual([
    ['frames', 'note', '1 topics are of no stream'],
    ['devices', 'note', '2 not online: cam-1, cam-4'],
    ['heartbeat', 'note', 'nobody outside would notice that this box is down'],
  ]);
});
