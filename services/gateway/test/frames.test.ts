import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { expectLaws, startSite, tensor, until } from './harness/site.ts';

it('a tensor comes out as a committed outcome with its evidence', async () => {
  await using site = await startSite();
  await site.ready();
  await site.frame('dev-1', 'raw', tensor(), 'k3v9-1042');
  await until(() => site.control.outcomes.length === 1);
  expect(site.control.outcomes[0]).toMatchObject({
    device: 'dev-1',
    stream: 'raw',
    boot: 'k3v9',
    seq: 1042,
    part: 0,
    pipeline: 'bits',
    outcome: 'decided',
    result: { label: 'cat', label_text: '猫', score: 0.9 },
    model: { name: 'cats', version: 1 },
    evidence: {
      frame: { sha256: createHash('sha256').update(tensor()).digest('hex'), bytes: 48 },
      model: { passport_sha256: site.cats.passportSha256, provider: 'cpu' },
      attempts: 0,
      gateway: 'gateway-1',
    },
  });
  const [received] = site.inference.decides;
  expect(received?.decide).toMatchObject({
    model: 'cats',
    version: 1,
    priority: 5,
    passportSha256: site.cats.passportSha256,
  });
  expect(received?.decide.units[0]).toMatchObject({
    id: 'dev-1.raw.k3v9.1042.0.bits',
    inputs: [{ name: 'image', dtype: 'uint8', shape: [4, 4, 3] }],
  });
  expect(received?.tensors[0]?.equals(tensor())).toBe(true);
  await until(() => site.service.counts.units('bits').decided === 1);
  expectLaws(site);
});
